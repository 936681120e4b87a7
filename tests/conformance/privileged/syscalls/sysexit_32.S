# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SYSEXIT without REX.W goes to compatibility mode, CS and SS 16 and 24 above IA32_SYSENTER_CS.
#
# On KVM of AMD's processors: SYSEXIT is #UD in long mode (AMD APM vol. 3, SYSEXIT).
#
# Source: Intel SDM vol. 2B, SYSEXIT.

.include "../check64.inc"

    call catch_faults
    write_msr 0x174, USER_CODE32_SELECTOR - 16
    lea rdx, [rip + user]
    mov ecx, USER_STACK_TOP
    mov byte ptr [rip + goes_inside], 1
    mov qword ptr [rip + resume_rip], inside
    mov ebx, 7
    sysexitl
.code32
user:
    inc ebx
    hlt
.code64
inside:
    equal ebx, 8
    equal qword ptr [rip + caught_cs], USER_CODE32_SELECTOR + 3
    equal qword ptr [rip + caught_ss], USER_DATA_SELECTOR + 3
    equal qword ptr [rip + caught_rsp], USER_STACK_TOP
    exit 0

.include "../catch64.inc"
