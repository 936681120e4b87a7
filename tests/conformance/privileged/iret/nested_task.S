# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IRET with NT set is #GP(0) in long mode.
#
# Source: Intel SDM vol. 2A, IRET (64-bit mode exceptions).

.include "../check64.inc"

    call catch_faults
    pushfq
    or dword ptr [rsp], FLAG_NT
    popfq
    attempt
    iretq
    caught 13, 0
    exit 0

.include "../catch64.inc"
