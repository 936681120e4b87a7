# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "12 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# By way of RBP the same is #SS(0).
#
# Source: Intel SDM vol. 3A §6.15, interrupt 12.

.include "../../../../guests/macros.inc"

    call catch_faults
    mov rbp, 0x800000000000
    mov eax, [rbp]
    exit 1

.include "../fault64.inc"
