# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IRETQ to CPL 3 takes no null SS: #GP(0).
#
# Source: Intel SDM vol. 2A, IRET (64-bit mode exceptions); vol. 3A §6.14.3.

.include "../check64.inc"

    call catch_faults
    push 3
    push USER_STACK_TOP
    push 2
    push USER_CODE64_SELECTOR + 3
    push 0x10000
    attempt
    iretq
    caught 13, 0
    exit 0

.include "../catch64.inc"
