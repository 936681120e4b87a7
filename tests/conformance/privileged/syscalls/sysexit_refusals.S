# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SYSEXIT is #GP(0) at CPL 3, while IA32_SYSENTER_CS is null, and with an RDX or RCX that is not
# canonical.
#
# On KVM of AMD's processors: SYSEXIT is #UD in long mode (AMD APM vol. 3, SYSEXIT).
#
# Source: Intel SDM vol. 2B, SYSEXIT (exceptions).

.include "../check64.inc"

    call catch_faults
    write_msr 0x174, 0
    attempt
    sysexitq
    caught 13, 0
    write_msr 0x174, USER_CODE64_SELECTOR - 32
    mov ecx, USER_STACK_TOP
    mov rdx, 0x800000000000
    attempt
    sysexitq
    caught 13, 0
    mov rcx, rdx
    lea rdx, [rip + user]
    attempt
    sysexitq
    caught 13, 0
    enter_user user
user:
    attempt
    sysexitq
    caught 13, 0
    exit 0

.include "../catch64.inc"
