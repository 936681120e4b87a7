# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "6 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# There is no CR1: #UD.
#
# Source: Intel SDM vol. 2B, MOV—Move to/from Control Registers.

.include "../../../../guests/macros.inc"

    call catch_faults
    .byte 0x0F, 0x20, 0xC8 # mov rax, cr1
    exit 1

.include "../fault64.inc"
