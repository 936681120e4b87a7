# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# CR0.NW without CR0.CD is #GP(0).
#
# Source: Intel SDM vol. 2B, MOV—Move to/from Control Registers.

.include "../../../../guests/macros.inc"

    call catch_faults
    mov rax, cr0
    bts rax, 29
    btr rax, 30
    mov cr0, rax
    exit 1

.include "../fault64.inc"
