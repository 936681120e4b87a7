# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit", "scratch"]
#
# [expect]
# output = "1 2 4: all widths read back\n"
# outcome = "exit"
# exit_code = 0
# exits = { PortIn = 4, PortOut = 32 }
# ///

# Port input and output of every width. A port number up to 255 can stand in the instruction; any
# other is in DX. A wider access covers the ports that follow, low byte first: the last read, of
# four bytes, shows how the writes of one and two bytes lie side by side.
#
# Source: Intel SDM vol. 1 §19.3 (I/O address space), vol. 2A, IN; vol. 2B, OUT.

.include "macros.inc"

    mov dx, SCRATCH_PORT
    mov al, 0x11
    out dx, al
    mov al, 0
    in al, dx
    cmp al, 0x11
    jne wrong

    add dx, 2
    mov ax, 0x3322
    out dx, ax
    xor eax, eax
    in ax, dx
    cmp eax, 0x3322
    jne wrong

    sub dx, 2
    in eax, dx
    cmp eax, 0x33220011
    jne wrong

    mov eax, 0x77665544
    out dx, eax
    xor eax, eax
    in eax, dx
    cmp eax, 0x77665544
    jne wrong

    print right_text
    exit 0
wrong:
    exit 1

.include "print64.inc"

right_text:
    .asciz "1 2 4: all widths read back\n"
