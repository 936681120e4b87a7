# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# CR0's upper half is reserved: setting a bit there is #GP(0).
#
# On KVM of host kind 3: the instruction does not fault.
#
# Source: Intel SDM vol. 2B, MOV—Move to/from Control Registers.

.include "../../../../guests/macros.inc"

    call catch_faults
    mov rax, cr0
    bts rax, 32
    mov cr0, rax
    exit 1

.include "../fault64.inc"
