# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IRET at CPL 3 never leads inward: #GP with the selector.
#
# Source: Intel SDM vol. 2A, IRET (64-bit mode exceptions).

.include "../check64.inc"

    call catch_faults
    enter_user user
user:
    push DATA_SELECTOR
    push KERNEL_STACK_TOP
    push 2
    push CODE64_SELECTOR
    push 0x10000
    attempt
    iretq
    caught 13, CODE64_SELECTOR
    exit 0

.include "../catch64.inc"
