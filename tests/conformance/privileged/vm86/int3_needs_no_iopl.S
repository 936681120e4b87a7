# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INT3 is not sensitive to IOPL.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §20.2.8.1; vol. 2A, INT n.

.include "../check32.inc"

    call catch_faults
    vector_to 3, stubs + 3 * 16, INTERRUPT_USER_32
    attempt
    enter_vm86 1f, 2
.code16
1:
    int3
.code32
    caught 3
    exit 0

.include "../catch32.inc"
