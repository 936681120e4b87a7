# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An exception through a trap gate leaves IF set, one through an interrupt gate clears it.
#
# Source: Intel SDM vol. 3A §6.12.1.3 (flag usage by handlers), §6.14.

.include "../check64.inc"

GATE_TRAP = 0x8F00

    call catch_faults
    lea rax, [rip + handler]
    mov edx, GATE_TRAP
    mov edi, 6
    call set_gate
    sti
    ud2
1:
    jmp failed
handler:
    pushfq
    pop rbx
    test ebx, FLAG_IF
    holds nz
    gate 6, handler2
    ud2
handler2:
    pushfq
    pop rbx
    test ebx, FLAG_IF
    holds z
    exit 0

.include "../catch64.inc"
