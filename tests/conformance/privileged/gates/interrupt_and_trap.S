# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An interrupt gate clears IF, a trap gate leaves it; both clear TF and NT, and IRET brings all
# back.
#
# On KVM of host kind 3: it refuses `int 0x30` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.12.1.3 (flag usage by handlers).

.include "../check32.inc"

    call catch_faults
    vector_to 0x30, handler, INTERRUPT_32
    vector_to 0x31, handler, TRAP_32
    push FLAG_IF + 2
    popfd
    int 0x30
    test ebx, FLAG_IF
    holds z
    int 0x31
    test ebx, FLAG_IF
    holds nz
    pushfd
    pop eax
    test eax, FLAG_IF
    holds nz
    exit 0

handler:
    pushfd
    pop ebx
    iretd

.include "../catch32.inc"
