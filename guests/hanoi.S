# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "AC AB CB AC BA BC AC\n7 moves\n"
# outcome = "exit"
# exit_code = 0
# ///

# Recursion on the stack: the towers of Hanoi. To move n disks, move n - 1 out of the way, move
# the last, and move n - 1 on top of it. Each call keeps its own n, from and to on the stack.
#
# Source: Intel SDM vol. 1 §6.2 (stacks), §6.4 (calling procedures).

.include "macros.inc"

DISKS = 3

    mov ecx, DISKS
    mov r8d, 'A' # from
    mov r9d, 'C' # to
    mov r10d, 'B' # by way of
    xor ebx, ebx
    call hanoi

    print newline
    mov eax, ebx
    call print_decimal
    print moves_text
    exit 0

# Move ecx disks from r8 to r9 by way of r10; count the moves in ebx.
hanoi:
    test ecx, ecx
    jz hanoi_end
    push rcx
    dec ecx
    xchg r9, r10
    call hanoi
    xchg r9, r10
    call move
    xchg r8, r10
    call hanoi
    xchg r8, r10
    pop rcx
hanoi_end:
    ret

move:
    test ebx, ebx
    jz first
    mov al, ' '
    out DEBUGCON_PORT, al
first:
    inc ebx
    mov eax, r8d
    out DEBUGCON_PORT, al
    mov eax, r9d
    out DEBUGCON_PORT, al
    ret

.include "print64.inc"

moves_text:
    .asciz " moves\n"
newline:
    .asciz "\n"
