# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IRET takes no null selector, data segment, level above the CPL, or segment that is not present for
# CS.
#
# On KVM of host kind 3: the guest shuts down (triple fault).
#
# Source: Intel SDM vol. 2A, IRET (64-bit mode exceptions).

.include "../check64.inc"

ABSENT = EXTRA

    call catch_faults
    call use_own_gdt
    describe ABSENT, 0x00AF1A000000FFFF
.irp selector, 0, DATA_SELECTOR, USER_CODE64_SELECTOR, ABSENT
    push DATA_SELECTOR
    push KERNEL_STACK_TOP
    push 2
    push \selector
    push 0x10000
    inc dword ptr [rip + check_number]
    mov qword ptr [rip + resume_rip], 1f
    mov qword ptr [rip + resume_rsp], rsp
    iretq
1:
    equal dword ptr [rip + caught_error], \selector
.endr
    equal dword ptr [rip + caught_vector], 11
    exit 0

.include "../catch64.inc"
.include "../gdt64.inc"
