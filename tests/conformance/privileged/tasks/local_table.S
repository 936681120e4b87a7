# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A task switch loads LDTR; a selector that names no LDT is #TS.
#
# On KVM of host kind 3: it refuses `ljmp 0x60:0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §7.3, §7.2.1; table 7-1.

.include "../check32.inc"

    call catch_faults
    call make_task
    mov dword ptr [other_task + TASK_LDT], DATA_SELECTOR
    attempt
    ljmp OTHER_TASK:0
    caught 10, DATA_SELECTOR
    sldt ax
    exit 0

.include "../catch32.inc"
.include "../task32.inc"
