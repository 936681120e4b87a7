# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A jump through a task gate in the GDT goes to the gate's task; the gate's DPL counts, the TSS's
# does not.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §7.2.5 (task-gate descriptor), §7.3.

.include "../check32.inc"

THE_GATE = EXTRA + 8

    call catch_faults
    call make_task
    mov dword ptr [other_task + TASK_EIP], 1f
    gate_to THE_GATE, 0, OTHER_TASK, 0xE5
    enter_user32 user
user:
    attempt
    ljmp OTHER_TASK:0
    caught 13, OTHER_TASK
    ljmp THE_GATE:0
    jmp failed
1:
    mov eax, cs
    equal eax, CODE32_SELECTOR
    equal dword ptr [task + TASK_CS], USER_CODE32_SELECTOR + 3
    exit 0

.include "../catch32.inc"
.include "../task32.inc"
