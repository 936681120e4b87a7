# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# CR4.PAE cannot be cleared in long mode: #GP(0).
#
# Source: Intel SDM vol. 2B, MOV—Move to/from Control Registers.

.include "../../../../guests/macros.inc"

    call catch_faults
    mov rax, cr4
    btr rax, 5
    mov cr4, rax
    exit 1

.include "../fault64.inc"
