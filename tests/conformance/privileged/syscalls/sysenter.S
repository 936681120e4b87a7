# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SYSENTER takes CS, SS, RSP and RIP from its three MSRs, goes to 64-bit code at CPL 0 and clears
# IF.
#
# On KVM of AMD's processors: SYSENTER is #UD in long mode (AMD APM vol. 3, SYSENTER).
#
# On KVM of host kind 3: check 0 fails, after vector 6 with error code 0: it raises #UD.
#
# Source: Intel SDM vol. 2B, SYSENTER; vol. 3A §5.8.7.1.

.include "../check64.inc"

    call catch_faults
    write_msr 0x174, CODE64_SELECTOR
    write_msr 0x175, KERNEL_STACK_TOP - 64
    write_msr 0x176, service
    enter_user user
user:
    sysenter
    jmp failed
service:
    equal rsp, KERNEL_STACK_TOP - 64
    mov eax, cs
    equal eax, CODE64_SELECTOR
    mov eax, ss
    equal eax, CODE64_SELECTOR + 8
    pushfq
    pop rax
    test eax, FLAG_IF
    holds z
    exit 0

.include "../catch64.inc"
