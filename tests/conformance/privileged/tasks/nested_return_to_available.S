# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IRET with NT set needs a back link to a busy TSS: #TS with the link's selector.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, IRET; vol. 3A §7.4.

.include "../check32.inc"

    call catch_faults
    call make_task
    mov word ptr [task], OTHER_TASK
    push FLAG_NT + 2
    popfd
    attempt
    iretd
    caught 10, OTHER_TASK
    exit 0

.include "../catch32.inc"
.include "../task32.inc"
