# /// pykvm
# mode = "long"
# append = "console=debug answer=42"
#
# [expect]
# output = "console=debug\nanswer=42\n2 words\n"
# outcome = "exit"
# exit_code = 0
# ///

# The command line, as a kernel reads it: text that ends in a NUL, at an address fixed in the
# map of pykvm/layout.py. `pykvm run --append TEXT` takes the place of the text in the head.
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
