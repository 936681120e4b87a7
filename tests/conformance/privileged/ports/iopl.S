# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# output = "A"
# outcome = "exit"
# exit_code = 0
# ///

# IN, OUT, CLI and STI are allowed where the CPL is not above IOPL.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 1 §19.5.1 (I/O privilege level).

.include "../check32.inc"

    call catch_faults
    enter_user32 user
user:
    attempt
    in al, 0x80
    caught 13, 0
    attempt
    cli
    caught 13, 0
    attempt
    sti
    caught 13, 0
    leave_user
    push USER_DATA_SELECTOR + 3
    push USER_STACK_TOP
    push 0x3002
    push USER_CODE32_SELECTOR + 3
    push allowed
    iretd
allowed:
    mov eax, USER_DATA_SELECTOR + 3
    mov ds, eax
    sti
    cli
    mov al, 'A'
    out DEBUGCON_PORT, al
    leave_user
    exit 0

.include "../catch32.inc"
