# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INT n at CPL 3 needs a gate with DPL 3.
#
# On KVM of host kind 3: check 1 fails, after vector 6 with error code 0: INT n raises #UD at CPL 3.
#
# Source: Intel SDM vol. 3A §6.12.1.2, §6.14.

.include "../check64.inc"

    call catch_faults
    gate 0x30, 0x10000
    user_gate 0x31, handler
    enter_user user
user:
    attempt
    int 0x30
    caught 13, 0x30 * 8 + 2
    mov ebx, 5
    int 0x31
    equal ebx, 6
    equal rsp, USER_STACK_TOP
    exit 0

handler:
    inc ebx
    iretq

.include "../catch64.inc"
