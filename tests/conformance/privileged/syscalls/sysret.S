# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SYSRETQ goes to RCX at CPL 3 with R11 in the flags, CS and SS as IA32_STAR says; RF and VM stay
# clear.
#
# Source: Intel SDM vol. 2B, SYSRET; vol. 3A §5.8.8.

.include "../check64.inc"

    call catch_faults
    write_msr MSR_EFER, 0x500 + EFER_SCE # LME, LMA
    write_msr MSR_STAR, (USER_CODE32_SELECTOR + 3) << 48 | CODE64_SELECTOR << 32
    lea rcx, [rip + user]
    mov r11d, 0x3000 + FLAG_CF + FLAG_RF + 2
    mov esp, USER_STACK_TOP
    sysretq
user:
    holds c
    pushfq
    pop rbx
    mov eax, cs
    equal eax, USER_CODE64_SELECTOR + 3
    mov eax, ss
    equal eax, USER_DATA_SELECTOR + 3
    and ebx, FLAG_RF + FLAG_CF
    equal ebx, FLAG_CF
    exit 0

.include "../catch64.inc"
