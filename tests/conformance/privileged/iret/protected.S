# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IRET to an outer level nulls data segment registers of the inner one and takes ESP and SS off the
# stack; at the same level it leaves both.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, IRET (operation).

.include "../check32.inc"

    call catch_faults
    mov ebx, esp
    push FLAG_CF + 2
    push CODE32_SELECTOR
    push 1f
    iretd
1:
    holds c
    equal esp, ebx
    mov eax, DATA_SELECTOR
    mov fs, eax
    enter_user32 user
user:
    mov eax, fs
    equal eax, 0
    equal esp, USER_STACK_TOP
    leave_user
    exit 0

.include "../catch32.inc"
