# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 16\n"
# outcome = "exit"
# exit_code = 0
# ///

# SS takes no code segment: #GP with the selector.
#
# Source: Intel SDM vol. 2B, MOV—Move.

.include "../../../../guests/macros.inc"

    call catch_faults
    mov eax, CODE64_SELECTOR
    mov ss, eax
    exit 1

.include "../fault64.inc"
