# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# LSTAR takes canonical addresses only: #GP(0).
#
# Source: Intel SDM vol. 2D, WRMSR.

.include "../../../../guests/macros.inc"

    call catch_faults
    mov ecx, 0xC0000082
    xor eax, eax
    mov edx, 0x8000
    wrmsr
    exit 1

.include "../fault64.inc"
