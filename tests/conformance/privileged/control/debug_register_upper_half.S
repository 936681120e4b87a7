# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# DR7's upper half is reserved: #GP(0).
#
# Source: Intel SDM vol. 3B §17.2.4 (debug control register).

.include "../../../../guests/macros.inc"

    call catch_faults
    mov rax, 0x100000000
    mov dr7, rax
    exit 1

.include "../fault64.inc"
