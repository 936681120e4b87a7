# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# CR0.PG without CR0.PE is #GP(0).
#
# Source: Intel SDM vol. 2B, MOV—Move to/from Control Registers.

.include "../../../../guests/macros.inc"

    call catch_faults
    mov rax, cr0
    and eax, 0xFFFFFFFE
    mov cr0, rax
    exit 1

.include "../fault64.inc"
