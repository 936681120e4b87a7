# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# RETF to an outer level takes ESP and SS off the stack and nulls data segments of the inner level.
#
# On KVM of host kind 3: it refuses `retf` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2B, RET; vol. 3A §5.8.6 (returning from a called procedure).

.include "../check32.inc"

    call catch_faults
    mov eax, USER_DATA_SELECTOR + 3
    mov ds, eax
    mov es, eax
    mov eax, DATA_SELECTOR
    mov fs, eax
    mov eax, CODE32_SELECTOR
    mov gs, eax
    push USER_DATA_SELECTOR + 3
    push USER_STACK_TOP
    push USER_CODE32_SELECTOR + 3
    push user
    retf
user:
    equal esp, USER_STACK_TOP
    mov eax, fs
    equal eax, 0
    mov eax, gs
    equal eax, 0
    mov eax, ds
    equal eax, USER_DATA_SELECTOR + 3
    leave_user
    exit 0

.include "../catch32.inc"
