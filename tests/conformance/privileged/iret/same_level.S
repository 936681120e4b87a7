# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IRETQ takes RSP and SS off the stack at the same level too.
#
# Source: Intel SDM vol. 3A §6.14.3 (IRET in IA-32e mode).

.include "../check64.inc"

    call catch_faults
    push 0 # SS: null will do at CPL 0
    push KERNEL_STACK_TOP - 256
    push FLAG_CF + 2
    push CODE64_SELECTOR
    lea rax, [rip + 1f]
    push rax
    iretq
1:
    holds c
    equal rsp, KERNEL_STACK_TOP - 256
    mov eax, ss
    equal eax, 0
    exit 0

.include "../catch64.inc"
