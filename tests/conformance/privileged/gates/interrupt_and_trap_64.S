# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# In long mode too, an interrupt gate clears IF and a trap gate does not.
#
# On KVM of host kind 3: it refuses `int 0x30` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.12.1.3, §6.14.

.include "../check64.inc"

GATE_TRAP = 0x8F00

    call catch_faults
    gate 0x30, handler
    lea rax, [rip + handler]
    mov edx, GATE_TRAP
    mov edi, 0x31
    call set_gate
    sti
    int 0x30
    test ebx, FLAG_IF
    holds z
    int 0x31
    test ebx, FLAG_IF
    holds nz
    exit 0

handler:
    pushfq
    pop rbx
    iretq

.include "../catch64.inc"
