# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IRETQ to a segment without L goes to compatibility mode; a fault there comes back to 64-bit code.
#
# Source: Intel SDM vol. 3A §6.14.3 (IRET in IA-32e mode), §5.2.1.

.include "../check64.inc"

    call catch_faults
    mov byte ptr [rip + goes_inside], 1
    mov qword ptr [rip + resume_rip], inside
    mov ebx, 7
    push USER_DATA_SELECTOR + 3
    push USER_STACK_TOP
    push 2
    push USER_CODE32_SELECTOR + 3
    lea rax, [rip + user]
    push rax
    iretq
.code32
user:
    inc ebx
    push ebx
    hlt
.code64
inside:
    equal ebx, 8
    equal qword ptr [rip + caught_rsp], USER_STACK_TOP - 4
    equal qword ptr [rip + caught_cs], USER_CODE32_SELECTOR + 3
    exit 0

.include "../catch64.inc"
