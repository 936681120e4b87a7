# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# A reserved bit of EFER is #GP(0).
#
# Source: Intel SDM vol. 3A §2.2.1 (extended feature enable register).

.include "../../../../guests/macros.inc"

    call catch_faults
    mov ecx, 0xC0000080
    rdmsr
    or eax, 2
    wrmsr
    exit 1

.include "../fault64.inc"
