# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SYSCALL leaves the address behind it in RCX and the flags in R11, clears the flags that IA32_FMASK
# has, and goes to IA32_LSTAR with CS and SS as IA32_STAR says. The stack stays.
#
# Source: Intel SDM vol. 2B, SYSCALL; vol. 3A §5.8.8.

.include "../check64.inc"

    call catch_faults
    write_msr MSR_EFER, 0x500 + EFER_SCE # LME, LMA
    write_msr MSR_STAR, (USER_CODE32_SELECTOR + 3) << 48 | CODE64_SELECTOR << 32
    write_msr MSR_LSTAR, service
    write_msr MSR_FMASK, FLAG_CF
    mov rbx, rsp
    cmp eax, eax # sets ZF
    stc
    syscall
behind:
    jmp failed
service:
    holds nc
    holds z
    lea rax, [rip + behind]
    equal rcx, rax
    and r11d, FLAG_CF + FLAG_ZF
    equal r11d, FLAG_CF + FLAG_ZF
    equal rsp, rbx
    mov eax, cs
    equal eax, CODE64_SELECTOR
    mov eax, ss
    equal eax, CODE64_SELECTOR + 8
    exit 0

.include "../catch64.inc"
