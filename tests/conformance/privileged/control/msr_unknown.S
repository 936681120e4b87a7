# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# Reading an MSR that is none is #GP(0).
#
# Source: Intel SDM vol. 2B, RDMSR.

.include "../../../../guests/macros.inc"

    call catch_faults
    mov ecx, 0x12345
    rdmsr
    exit 1

.include "../fault64.inc"
