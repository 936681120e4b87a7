# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# RETF never goes to an inner level: #GP with the selector.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2B, RET.

.include "../check32.inc"

    call catch_faults
    enter_user32 user
user:
    push CODE32_SELECTOR
    push 0x10000
    attempt
    retf
    caught 13, CODE32_SELECTOR
    leave_user
    exit 0

.include "../catch32.inc"
