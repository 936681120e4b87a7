# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A conforming segment of an inner level runs at the level of who came.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §5.8.1.2 (accessing conforming code segments).

.include "../check32.inc"

CONFORMING = EXTRA
CONFORMING_USER = EXTRA + 8

    call catch_faults
    describe CONFORMING, 0x0000FFFF, 0x00CF9E00
    describe CONFORMING_USER, 0x0000FFFF, 0x00CFFE00
    attempt
    ljmp CONFORMING_USER:1f
1:
    caught 13, CONFORMING_USER
    enter_user32 user
user:
    ljmp CONFORMING:1f
1:
    mov eax, cs
    equal eax, CONFORMING + 3
    attempt
    cli
    caught 13, 0
    leave_user
    exit 0

.include "../catch32.inc"
