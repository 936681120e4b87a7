# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# HLT at CPL 3 is #GP(0).
#
# Source: Intel SDM vol. 2A, HLT.

.include "../check64.inc"

    call catch_faults
    enter_user user
user:
    attempt
    hlt
    caught 13, 0
    exit 0

.include "../catch64.inc"
