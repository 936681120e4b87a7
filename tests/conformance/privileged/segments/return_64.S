# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A 64-bit far return goes to CPL 3 with RSP and SS off the stack, and refuses a level further
# inside.
#
# On KVM of host kind 3: it refuses `retfq` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2B, RET (operation, IA-32e mode).

.include "../check64.inc"

    call catch_faults
    push USER_DATA_SELECTOR + 3
    push USER_STACK_TOP
    push USER_CODE64_SELECTOR + 3
    lea rax, [rip + user]
    push rax
    .byte 0x48, 0xCB # RETFQ
user:
    equal rsp, USER_STACK_TOP
    mov eax, cs
    equal eax, USER_CODE64_SELECTOR + 3
    push CODE64_SELECTOR
    push 0x10000
    attempt
    .byte 0x48, 0xCB
    caught 13, CODE64_SELECTOR
    exit 0

.include "../catch64.inc"
