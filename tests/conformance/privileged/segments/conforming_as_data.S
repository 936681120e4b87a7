# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A readable conforming code segment can be loaded as data at any privilege level.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §5.6.1 (accessing data in code segments).

.include "../check32.inc"

CONFORMING = EXTRA

    call catch_faults
    describe CONFORMING, 0x0000FFFF, 0x00CF9E00
    enter_user32 user
user:
    mov ebx, CONFORMING + 3
    mov fs, ebx
    mov eax, fs:[0x20000]
    mov ebx, CODE32_SELECTOR + 3
    attempt
    mov fs, ebx
    caught 13, CODE32_SELECTOR
    leave_user
    exit 0

.include "../catch32.inc"
