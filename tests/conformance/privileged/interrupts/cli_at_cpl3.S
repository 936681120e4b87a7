# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# CLI, STI and POPF of IF depend on IOPL: the first two are #GP(0) above it, POPF leaves IF alone.
#
# On KVM of host kind 3: check 2 fails, after vector 13 with error code 0: STI does not fault at CPL
# 3.
#
# Source: Intel SDM vol. 2A, CLI; vol. 2B, STI, POPF.

.include "../check64.inc"

    call catch_faults
    push USER_DATA_SELECTOR + 3
    push USER_STACK_TOP
    push 2
    push USER_CODE64_SELECTOR + 3
    lea rax, [rip + user]
    push rax
    iretq
user:
    attempt
    cli
    caught 13, 0
    attempt
    sti
    caught 13, 0
    push FLAG_IF + 2
    popfq
    pushfq
    pop rax
    test eax, FLAG_IF
    holds z
    exit 0

.include "../catch64.inc"
