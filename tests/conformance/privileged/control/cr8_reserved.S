# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# CR8 has four bits: setting more is #GP(0).
#
# Source: Intel SDM vol. 2B, MOV—Move to/from Control Registers.

.include "../../../../guests/macros.inc"

    call catch_faults
    mov eax, 16
    mov cr8, rax
    exit 1

.include "../fault64.inc"
