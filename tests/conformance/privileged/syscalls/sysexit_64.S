# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SYSEXIT with REX.W goes to RDX with RCX in RSP at CPL 3, CS and SS 32 and 40 above
# IA32_SYSENTER_CS.
#
# On KVM of AMD's processors: SYSEXIT is #UD in long mode (AMD APM vol. 3, SYSEXIT).
#
# On KVM of host kind 3: check 3 fails: SS has another selector.
#
# Source: Intel SDM vol. 2B, SYSEXIT.

.include "../check64.inc"

    call catch_faults
    write_msr 0x174, USER_CODE64_SELECTOR - 32
    lea rdx, [rip + user]
    mov ecx, USER_STACK_TOP
    sysexitq
user:
    equal rsp, USER_STACK_TOP
    mov eax, cs
    equal eax, USER_CODE64_SELECTOR + 3
    mov eax, ss
    equal eax, USER_CODE64_SELECTOR + 8 + 3
    exit 0

.include "../catch64.inc"
