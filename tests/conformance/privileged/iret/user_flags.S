# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IRET at CPL 3 changes neither IOPL nor, above IOPL, IF.
#
# On KVM of host kind 3: check 1 fails: PUSHF shows other flags at CPL 3.
#
# Source: Intel SDM vol. 2A, IRET (operation).

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
    push USER_DATA_SELECTOR + 3
    push USER_STACK_TOP
    push 0x3202 + FLAG_CF
    push USER_CODE64_SELECTOR + 3
    lea rax, [rip + again]
    push rax
    iretq
again:
    holds c
    pushfq
    pop rax
    and eax, 0x3200
    equal eax, 0
    exit 0

.include "../catch64.inc"
