# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# FXSAVE at an address that is no multiple of 16 is #GP(0).
#
# On KVM of host kind 3: the instruction does not fault.
#
# Source: Intel SDM vol. 2A, FXSAVE.

.include "../../../../guests/macros.inc"

    call catch_faults
    mov rbx, 0x8001
    fxsave [rbx]
    exit 1

.include "../fault64.inc"
