# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A task gate lets the handler of a double fault start on a good stack, whatever was wrong with the
# old one.
#
# On KVM of host kind 3: check 0 fails, after vector 12 with error code 0: it makes no double fault
# of it.
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 8), §6.12.2 (interrupt tasks).

.include "../check32.inc"

SMALL = EXTRA + 8

    call catch_faults
    call make_task
    mov dword ptr [other_task + TASK_EIP], handler
    vector_to 8, 0, TASK_GATE, OTHER_TASK
    describe SMALL, 0x00000000, 0x00C09200 # 4 KiB
    mov eax, SMALL
    mov ss, eax
    mov esp, 0x10000
guilty:
    push eax # #SS, and again for its handler
    jmp failed

handler:
    equal esp, OTHER_STACK_TOP - 4
    equal dword ptr [esp], 0
    equal dword ptr [task + TASK_EIP], guilty
    equal dword ptr [task + TASK_SS], SMALL
    exit 0

.include "../catch32.inc"
.include "../task32.inc"
