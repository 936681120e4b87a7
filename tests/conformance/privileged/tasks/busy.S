# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A task that is busy cannot be jumped to or called: #GP with its selector.
#
# On KVM of host kind 3: it refuses `ljmp 0xf0:0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §7.3 (task switching, checks), table 7-1.

.include "../check32.inc"

    call catch_faults
    attempt
    ljmp TASK:0
    caught 13, TASK
    attempt
    lcall TASK:0
    caught 13, TASK
    exit 0

.include "../catch32.inc"
.include "../task32.inc"
