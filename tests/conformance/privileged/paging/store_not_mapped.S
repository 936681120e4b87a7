# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "14 2\n"
# outcome = "exit"
# exit_code = 0
# ///

# A store to a page that is not there is #PF, error bit W.
#
# Source: Intel SDM vol. 3A §4.7 (page-fault exceptions).

.include "../../../../guests/macros.inc"

    call catch_faults
    mov rbx, 0x700000000000
    mov [rbx], eax
    exit 1

.include "../fault64.inc"
