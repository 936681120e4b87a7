# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SYSRET without REX.W goes to compatibility mode: 40 is INC EAX there, not a prefix.
#
# On KVM of host kind 3: check 1 fails, after vector 13 with error code 0.
#
# Source: Intel SDM vol. 2B, SYSRET; vol. 3A §5.8.8.

.include "../check64.inc"

    call catch_faults
    write_msr MSR_EFER, 0x500 + EFER_SCE # LME, LMA
    write_msr MSR_STAR, (USER_CODE32_SELECTOR + 3) << 48 | CODE64_SELECTOR << 32
    lea rcx, [rip + user]
    mov r11d, 0x3002
    mov esp, USER_STACK_TOP
    mov byte ptr [rip + goes_inside], 1
    mov qword ptr [rip + resume_rip], inside
    mov ebx, 7
    sysretl
.code32
user:
    inc ebx
    hlt
.code64
inside:
    equal ebx, 8
    equal qword ptr [rip + caught_vector], 13
    equal qword ptr [rip + caught_cs], USER_CODE32_SELECTOR + 3
    exit 0

.include "../catch64.inc"
