# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "6 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# XSETBV is #UD while CR4.OSXSAVE is clear.
#
# Source: Intel SDM vol. 2D, XSETBV.

.include "../../../../guests/macros.inc"

    call catch_faults
    mov rax, cr4
    btr rax, 18
    mov cr4, rax
    xor ecx, ecx
    mov eax, 1
    xor edx, edx
    xsetbv
    exit 1

.include "../fault64.inc"
