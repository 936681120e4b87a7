# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A far jump to a TSS saves the old task, marks its TSS available, and loads the new one: registers,
# segments and EIP. The new TSS is busy, NT stays clear, the back link is not written, CR0.TS is
# set.
#
# On KVM of host kind 3: it refuses `ljmp 0x60:0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §7.3 (task switching), table 7-2.

.include "../check32.inc"

    call catch_faults
    call make_task
    mov dword ptr [other_task + TASK_EIP], 1f
    mov dword ptr [other_task + TASK_EBX], 0x1234
    mov esi, 0x5678
    ljmp OTHER_TASK:0
behind:
    jmp failed
1:
    equal ebx, 0x1234
    equal esp, OTHER_STACK_TOP
    equal dword ptr [task + TASK_ESI], 0x5678
    equal dword ptr [task + TASK_EIP], behind
    equal dword ptr [task + TASK_CS], CODE32_SELECTOR
    equal byte ptr [own_gdt + TASK + 5], 0x89
    equal byte ptr [own_gdt + OTHER_TASK + 5], 0x8B
    str ax
    equal ax, OTHER_TASK
    pushfd
    pop eax
    test eax, FLAG_NT
    holds z
    equal dword ptr [other_task], 0
    mov eax, cr0
    test eax, CR0_TS
    holds nz
    exit 0

.include "../catch32.inc"
.include "../task32.inc"
