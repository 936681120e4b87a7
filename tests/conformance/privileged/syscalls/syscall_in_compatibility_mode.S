# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SYSCALL is #UD in compatibility mode.
#
# On KVM of AMD's processors: SYSCALL works there (AMD APM vol. 3, SYSCALL).
#
# On KVM of host kind 3: check 0 fails: SYSCALL works there.
#
# Source: Intel SDM vol. 2B, SYSCALL (compatibility mode exceptions).

.include "../check64.inc"

    call catch_faults
    write_msr MSR_EFER, 0x500 + EFER_SCE # LME, LMA
    write_msr MSR_STAR, (USER_CODE32_SELECTOR + 3) << 48 | CODE64_SELECTOR << 32
    write_msr MSR_LSTAR, failed
    write_msr 0xC0000083, failed # IA32_CSTAR
    mov byte ptr [rip + goes_inside], 1
    mov qword ptr [rip + resume_rip], inside
    push USER_DATA_SELECTOR + 3
    push USER_STACK_TOP
    push 2
    push USER_CODE32_SELECTOR + 3
    lea rax, [rip + user]
    push rax
    iretq
.code32
user:
    .byte 0x0F, 0x05 # SYSCALL
    hlt
.code64
inside:
    equal dword ptr [rip + caught_vector], 6
    lea rax, [rip + user]
    equal [rip + caught_rip], rax
    exit 0

.include "../catch64.inc"
