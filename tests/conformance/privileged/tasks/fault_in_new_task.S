# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A segment of the new task that cannot be loaded is found when all selectors are the new task's.
#
# On KVM of host kind 3: it refuses `ljmp 0x60:0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.15 (interrupts 10 and 11, program state change), §7.3.

.include "../check32.inc"

THIRD_TASK = EXTRA + 8

    call catch_faults
    call make_task
    mov eax, third_task
    mov word ptr [own_gdt + THIRD_TASK], 0x67
    mov [own_gdt + THIRD_TASK + 2], ax
    shr eax, 16
    or eax, 0x8900
    mov [own_gdt + THIRD_TASK + 4], eax
    mov dword ptr [idt32 + 8 * 10], THIRD_TASK << 16
    mov dword ptr [idt32 + 8 * 10 + 4], TASK_GATE << 8
    mov dword ptr [third_task + TASK_EIP], 1f
    mov dword ptr [other_task + TASK_SS], 0x100
    mov dword ptr [other_task + TASK_FS], USER_DATA_SELECTOR + 3
    ljmp OTHER_TASK:0
    jmp failed
1:
    pop eax
    equal eax, 0x100
    equal word ptr [other_task + TASK_SS], 0x100
    equal word ptr [other_task + TASK_FS], USER_DATA_SELECTOR + 3
    exit 0

    .balign 8
third_task:
    .zero 36
    .long 2
    .zero 16
    .long OTHER_STACK_TOP - 0x1000
    .zero 12
    .long DATA_SELECTOR, CODE32_SELECTOR, DATA_SELECTOR, DATA_SELECTOR, DATA_SELECTOR, DATA_SELECTOR
    .long 0, 104 << 16

.include "../catch32.inc"
.include "../task32.inc"
