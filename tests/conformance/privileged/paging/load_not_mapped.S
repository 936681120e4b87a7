# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "14 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# A load from a page that is not there is #PF(0).
#
# Source: Intel SDM vol. 3A §4.7 (page-fault exceptions).

.include "../../../../guests/macros.inc"

    call catch_faults
    mov rbx, 0x700000000000
    mov eax, [rbx]
    exit 1

.include "../fault64.inc"
