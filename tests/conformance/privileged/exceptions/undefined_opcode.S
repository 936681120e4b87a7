# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "6 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# UD2 is #UD, without an error code.
#
# Source: Intel SDM vol. 2B, UD.

.include "../../../../guests/macros.inc"

    call catch_faults
    ud2
    exit 1

.include "../fault64.inc"
