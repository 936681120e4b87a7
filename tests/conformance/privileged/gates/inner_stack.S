# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An exception at CPL 3 takes RSP0 from the TSS and pushes SS, RSP, RFLAGS, CS and RIP; SS becomes
# null.
#
# Source: Intel SDM vol. 3A §6.14.2 (64-bit mode stack frame), §6.14.4 (stack switching).

.include "../check64.inc"

    call catch_faults
    lea rax, [rip + handler]
    mov edx, GATE_INTERRUPT
    mov edi, 6
    call set_gate
    mov qword ptr [TSS_RSP0], KERNEL_STACK_TOP - 0x4000
    enter_user user
user:
    ud2
handler:
    equal rsp, KERNEL_STACK_TOP - 0x4000 - 40
    lea rax, [rip + user]
    equal [rsp], rax
    equal qword ptr [rsp + 8], USER_CODE64_SELECTOR + 3
    equal qword ptr [rsp + 24], USER_STACK_TOP
    equal qword ptr [rsp + 32], USER_DATA_SELECTOR + 3
    mov eax, ss
    equal eax, 0
    mov eax, cs
    equal eax, CODE64_SELECTOR
    exit 0

.include "../catch64.inc"
