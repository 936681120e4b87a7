# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A handler in a conforming segment runs at the level of who was interrupted, on the same stack.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.12.1.2 (protection of handler procedures).

.include "../check32.inc"

CONFORMING = EXTRA

    call catch_faults
    describe CONFORMING, 0x0000FFFF, 0x00CF9E00
    vector_to 0x30, handler, TRAP_USER_32, CONFORMING
    enter_user32 user
user:
    int 0x30
    leave_user
    exit 0

handler:
    mov eax, cs
    equal eax, CONFORMING + 3
    equal esp, USER_STACK_TOP - 12
    iretd

.include "../catch32.inc"
