# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# SS takes no null selector with RPL 3 at CPL 0: #GP(0).
#
# Source: Intel SDM vol. 2B, MOV—Move.

.include "../../../../guests/macros.inc"

    call catch_faults
    mov eax, 3
    mov ss, eax
    exit 1

.include "../fault64.inc"
