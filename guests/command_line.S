# /// pykvm
# mode = "long"
# append = "console=debug answer=42"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "console=debug\nanswer=42\n2 words\n"
# outcome = "exit"
# exit_code = 0
# ///

# Read the command line, as a kernel does. It is text that ends in a NUL, at an address of the map
# in pykvm/layout.py. `pykvm run --append TEXT` takes the place of the text in the head.
#
# Source: docs/architecture.md, the address map.

.include "macros.inc"

    mov esi, COMMAND_LINE_BASE
    xor ebx, ebx # words
    mov bl, 1
next:
    lodsb
    test al, al
    jz done
    cmp al, ' '
    jne put
    inc ebx
    mov al, 10
put:
    out DEBUGCON_PORT, al
    jmp next
done:
    print newline
    mov eax, ebx
    call print_decimal
    print words_text
    exit 0

.include "print64.inc"

newline:
    .asciz "\n"
words_text:
    .asciz " words\n"
