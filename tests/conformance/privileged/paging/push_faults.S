# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A PUSH or CALL whose store faults leaves RSP as it was.
#
# Source: Intel SDM vol. 3A §6.5 (faults are restartable), §6.15 (interrupt 14).

.include "../check64.inc"

IST_STACK_TOP = KERNEL_STACK_TOP - 0x8000

    call catch_faults
    call open_window
    map_window 0
    mov qword ptr [TSS_IST1], IST_STACK_TOP
    mov byte ptr [rip + idt + 14 * 16 + 4], 1
    mov esp, WINDOW + 0x800
    mov rbx, rsp
    attempt
    push rax
    caught 14, PF_W
    equal [rip + caught_rsp], rbx
    attempt
    call catch_faults
    caught 14, PF_W
    equal [rip + caught_rsp], rbx
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
