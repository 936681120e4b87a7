# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "0 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# Division by zero is #DE, without an error code.
#
# Source: Intel SDM vol. 3A §6.15, interrupt 0.

.include "../../../../guests/macros.inc"

    call catch_faults
    xor ecx, ecx
    div ecx
    exit 1

.include "../fault64.inc"
