# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# A load from an address that is not canonical is #GP(0).
#
# Source: Intel SDM vol. 1 §3.3.7.1 (canonical addressing).

.include "../../../../guests/macros.inc"

    call catch_faults
    mov rbx, 0x800000000000
    mov eax, [rbx]
    exit 1

.include "../fault64.inc"
