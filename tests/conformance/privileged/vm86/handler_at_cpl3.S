# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A handler of virtual-8086 code must be at CPL 0: #GP with the selector of a conforming segment.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §20.3.1.1 (handling through a protected-mode gate); vol. 2A, INT n.

.include "../check32.inc"

CONFORMING = EXTRA

    call catch_faults
    describe CONFORMING, 0x0000FFFF, 0x00CF9E00
    vector_to 0x30, 0x10000, INTERRUPT_USER_32, CONFORMING
    attempt
    enter_vm86 1f, 0x3002
.code16
1:
    int 0x30
.code32
    caught 13, CONFORMING
    exit 0

.include "../catch32.inc"
