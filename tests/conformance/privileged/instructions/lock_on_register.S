# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "6 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# LOCK before an instruction without a memory destination is #UD.
#
# Source: Intel SDM vol. 2A, LOCK.

.include "../../../../guests/macros.inc"

    call catch_faults
    .byte 0xF0, 0x01, 0xC0 # lock add eax, eax
    exit 1

.include "../fault64.inc"
