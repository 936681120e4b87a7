# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A task can be one of virtual-8086 mode: its EFLAGS have VM set, and its selectors are paragraphs.
#
# On KVM of host kind 3: it refuses `ljmp 0x60:0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §20.2.5 (entering virtual-8086 mode), §7.3.

.include "../check32.inc"

    call catch_faults
    call make_task
    mov dword ptr [other_task + TASK_EFLAGS], FLAG_VM + 2
    mov dword ptr [other_task + TASK_EIP], 1f - 0x10000
    mov dword ptr [other_task + TASK_CS], 0x1000
    mov dword ptr [other_task + TASK_SS], 0x2000
    mov dword ptr [other_task + TASK_ESP], 0x1000
    mov dword ptr [other_task + 8], DATA_SELECTOR # SS0
    mov dword ptr [other_task + 4], KERNEL_STACK_TOP
    attempt
    ljmp OTHER_TASK:0
.code16
1:
    hlt
.code32
    caught 13, 0
    equal dword ptr [caught_cs], 0x1000
    equal dword ptr [caught_eip], 1b - 0x10000
    equal dword ptr [caught_ss], 0x2000
    exit 0

.include "../catch32.inc"
.include "../task32.inc"
