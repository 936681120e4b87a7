# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# What is wrong with the new task's segments is found in the new task: #TS with the selector.
#
# On KVM of host kind 3: it refuses `ljmp 0x60:0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §7.3, table 7-1 (exception conditions of task switches).

.include "../check32.inc"

    call catch_faults
    call make_task
    mov dword ptr [other_task + TASK_CS], DATA_SELECTOR
    attempt
    ljmp OTHER_TASK:0
    caught 10, DATA_SELECTOR
    str ax
    equal ax, OTHER_TASK
    exit 0

.include "../catch32.inc"
.include "../task32.inc"
