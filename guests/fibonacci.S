# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "0 1 1 2 3 5 8 13 21 34 55 89 144 233 377 610\n"
# outcome = "exit"
# exit_code = 0
# exits = { PortOut = 46 }
# ///

# Fibonacci numbers in real mode: 16-bit registers, a subroutine, and division to print decimal.
#
# Source: Intel SDM vol. 3B §20.1 (real-address mode); vol. 2A, DIV.

.include "macros.inc"

COUNT = 16

    xor si, si # this number
    mov di, 1  # the next
    mov cx, COUNT
next:
    mov ax, si
    call print_decimal16
    mov ax, si
    add ax, di
    mov si, di
    mov di, ax
    mov al, ' '
    cmp cx, 1
    jne separate
    mov al, 10
separate:
    out DEBUGCON_PORT, al
    loop next
    exit 0

# Print ax in decimal: digits come lowest first, so the stack turns them round.
print_decimal16:
    push cx
    mov bx, 10
    xor cx, cx
divide:
    xor dx, dx
    div bx
    push dx
    inc cx
    test ax, ax
    jnz divide
print_digit:
    pop ax
    add al, '0'
    out DEBUGCON_PORT, al
    loop print_digit
    pop cx
    ret
