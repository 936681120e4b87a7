# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# LTR with a null selector is #GP(0).
#
# Source: Intel SDM vol. 2A, LTR.

.include "../../../../guests/macros.inc"

    call catch_faults
    xor eax, eax
    ltr ax
    exit 1

.include "../fault64.inc"
