# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A task gate handles an interrupt of virtual-8086 mode too; the old task keeps VM in its EFLAGS.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §20.3.2 (handling with a task gate), §7.3.

.include "../check32.inc"

    call catch_faults
    call make_task
    mov dword ptr [other_task + TASK_EIP], handler
    vector_to 0x30, 0, 0xE5, OTHER_TASK
    enter_vm86 1f, 0x3002
.code16
1:
    int 0x30
2:
    hlt
.code32
handler:
    mov eax, [task + TASK_EFLAGS]
    test eax, FLAG_VM
    holds nz
    equal dword ptr [task + TASK_EIP], 2b - 0x10000
    equal dword ptr [task + TASK_CS], 0x1000
    pushfd
    pop eax
    test eax, FLAG_VM
    holds z
    mov dword ptr [resume_eip], 3f
    iretd
3:
    equal dword ptr [caught_vector], 13
    equal dword ptr [caught_eip], 2b - 0x10000
    exit 0

.include "../catch32.inc"
.include "../task32.inc"
