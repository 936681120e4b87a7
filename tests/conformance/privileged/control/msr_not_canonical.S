# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# LSTAR takes canonical addresses only: #GP(0). Where the processor has 57-bit linear addresses that
# is what counts, whether they are in use or not.
#
# Source: Intel SDM vol. 2D, WRMSR; vol. 1 §3.3.7.1 (canonical addressing).

.include "../../../../guests/macros.inc"

    call catch_faults
    mov ecx, 0xC0000082
    xor eax, eax
    mov edx, 0x1000000 # bit 56
    wrmsr
    exit 1

.include "../fault64.inc"
