# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A task whose TSS has T set begins with #DB, BT in DR6.
#
# On KVM of host kind 3: it refuses `ljmp 0x60:0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3B §17.3.1.5 (task-switch exception condition); vol. 3A §7.2.1.

.include "../check32.inc"

    call catch_faults
    call make_task
    mov dword ptr [other_task + TASK_EIP], 1f
    mov byte ptr [other_task + 100], 1
    attempt
    ljmp OTHER_TASK:0
1:
    caught 1
    equal dword ptr [caught_eip], 1b
    mov eax, dr6
    bt eax, 15
    holds c
    exit 0

.include "../catch32.inc"
.include "../task32.inc"
