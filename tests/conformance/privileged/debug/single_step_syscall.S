# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With TF in IA32_FMASK no single step goes along with SYSCALL.
#
# Source: Intel SDM vol. 2B, SYSCALL (RFLAGS masked by IA32_FMASK); vol. 3B §17.3.1.4.

.include "../check64.inc"

    call catch_faults
    write_msr MSR_EFER, 0x500 + EFER_SCE # LME, LMA
    write_msr MSR_STAR, (USER_CODE32_SELECTOR + 3) << 48 | CODE64_SELECTOR << 32
    write_msr MSR_LSTAR, service
    write_msr MSR_FMASK, FLAG_TF
    push FLAG_TF + 2
    popfq
    syscall
    jmp failed
service:
    nop
    nop
    test r11d, FLAG_TF
    holds nz
    exit 0

.include "../catch64.inc"
