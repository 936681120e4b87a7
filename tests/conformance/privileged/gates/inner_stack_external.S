# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# What is wrong with the inner stack of an exception's handler has EXT in its error code, as the
# program did not ask for it.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.13 (error code); vol. 2A, INT n (inter-privilege-level interrupt).

.include "../check32.inc"

CODE1 = EXTRA
DATA1 = EXTRA + 8

    call catch_faults
    describe CODE1, 0x0000FFFF, 0x00CFBA00
    describe DATA1, 0x0000FFFF, 0x00CF3200 # not present
    vector_to 6, 0x10000, INTERRUPT_32, CODE1
    mov dword ptr [task + 12], KERNEL_STACK_TOP - 0x800
    mov dword ptr [task + 16], DATA_SELECTOR
    enter_user32 user
user:
    attempt
    ud2
    caught 10, DATA_SELECTOR + 1
    mov dword ptr [task + 16], 0
    attempt
    ud2
    caught 10, 1
    mov dword ptr [task + 16], DATA1 + 1
    attempt
    ud2
    caught 12, DATA1 + 1
    leave_user
    exit 0

.include "../catch32.inc"
