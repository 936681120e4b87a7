# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SYSCALL takes CPL 3 to CPL 0.
#
# On KVM of host kind 3: check 1 fails: CS has RPL 3 behind it.
#
# Source: Intel SDM vol. 2B, SYSCALL; vol. 3A §5.8.8.

.include "../check64.inc"

    call catch_faults
    write_msr MSR_EFER, 0x500 + EFER_SCE # LME, LMA
    write_msr MSR_STAR, (USER_CODE32_SELECTOR + 3) << 48 | CODE64_SELECTOR << 32
    write_msr MSR_LSTAR, service
    enter_user user
user:
    syscall
    jmp failed
service:
    mov eax, cs
    equal eax, CODE64_SELECTOR
    mov rax, cr0
    equal rsp, USER_STACK_TOP
    exit 0

.include "../catch64.inc"
