# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A call to a TSS leaves the old one busy and links the new task to it: NT is set, and IRET goes
# back, which makes the TSS that it leaves available.
#
# On KVM of host kind 3: it refuses `lcall 0x60, 0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §7.4 (task linking), table 7-2.

.include "../check32.inc"

    call catch_faults
    call make_task
    mov dword ptr [other_task + TASK_EIP], 1f
    lcall OTHER_TASK:0
    equal byte ptr [own_gdt + TASK + 5], 0x8B
    equal byte ptr [own_gdt + OTHER_TASK + 5], 0x89
    str ax
    equal ax, TASK
    pushfd
    pop eax
    test eax, FLAG_NT
    holds z
    mov eax, [other_task + TASK_EFLAGS]
    test eax, FLAG_NT
    holds z
    equal dword ptr [other_task + TASK_EIP], behind
    exit 0
1:
    equal byte ptr [own_gdt + TASK + 5], 0x8B
    equal byte ptr [own_gdt + OTHER_TASK + 5], 0x8B
    equal word ptr [other_task], TASK
    pushfd
    pop eax
    test eax, FLAG_NT
    holds nz
    iretd
behind:
    jmp failed

.include "../catch32.inc"
.include "../task32.inc"
