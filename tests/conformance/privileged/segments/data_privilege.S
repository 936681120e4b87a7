# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A data segment must have a DPL that is neither below the CPL nor below the selector's RPL.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §5.6 (privilege checking when accessing data segments).

.include "../check32.inc"

    call catch_faults
    mov ebx, DATA_SELECTOR + 3
    attempt
    mov fs, ebx
    caught 13, DATA_SELECTOR
    mov ebx, USER_DATA_SELECTOR
    mov fs, ebx
    enter_user32 user
user:
    mov ebx, DATA_SELECTOR
    attempt
    mov fs, ebx
    caught 13, DATA_SELECTOR
    mov ebx, USER_DATA_SELECTOR
    mov fs, ebx
    leave_user
    exit 0

.include "../catch32.inc"
