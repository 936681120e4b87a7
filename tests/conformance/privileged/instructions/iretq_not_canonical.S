# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# IRETQ to an address that is not canonical is #GP(0).
#
# Source: Intel SDM vol. 2A, IRET.

.include "../../../../guests/macros.inc"

    call catch_faults
    push 0
    push rsp
    push 2
    push CODE64_SELECTOR
    mov rax, 0x800000000000
    push rax
    iretq
    exit 1

.include "../fault64.inc"
