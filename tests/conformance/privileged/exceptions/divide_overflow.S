# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "0 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# A quotient that does not fit is #DE too.
#
# Source: Intel SDM vol. 2A, DIV.

.include "../../../../guests/macros.inc"

    call catch_faults
    mov edx, 5
    mov ecx, 5
    div ecx
    exit 1

.include "../fault64.inc"
