# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A task gate in the IDT makes the handler a task of its own; an error code is pushed on its stack.
#
# On KVM of host kind 3: the run does not end.
#
# Source: Intel SDM vol. 3A §6.12.2 (interrupt tasks), §7.2.5 (task-gate descriptor).

.include "../check32.inc"

    call catch_faults
    call make_task
    mov dword ptr [other_task + TASK_EIP], handler
    vector_to 13, 0, TASK_GATE, OTHER_TASK
    mov ebx, 0x100
    mov esi, esp
guilty:
    mov fs, ebx
    equal esp, esi
    exit 0

handler:
    equal esp, OTHER_STACK_TOP - 4
    equal dword ptr [esp], 0x100
    equal dword ptr [task + TASK_EIP], guilty
    mov dword ptr [task + TASK_EBX], DATA_SELECTOR # what will do
    add esp, 4
    iretd

.include "../catch32.inc"
.include "../task32.inc"
