# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# A reserved bit of CR4 is #GP(0).
#
# Source: Intel SDM vol. 3A §2.5 (control registers).

.include "../../../../guests/macros.inc"

    call catch_faults
    mov rax, cr4
    bts rax, 31
    mov cr4, rax
    exit 1

.include "../fault64.inc"
