# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 65528\n"
# outcome = "exit"
# exit_code = 0
# ///

# A selector beyond the GDT's limit is #GP with the selector.
#
# Source: Intel SDM vol. 2B, MOV—Move.

.include "../../../../guests/macros.inc"

    call catch_faults
    mov eax, 0xFFF8
    mov ds, eax
    exit 1

.include "../fault64.inc"
