# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INT n at CPL 3 needs a gate with DPL 3: #GP with the vector and the IDT bit. Exceptions do not.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.12.1.2 (protection of handler procedures), §6.13 (error code).

.include "../check32.inc"

    call catch_faults
    vector_to 0x30, 0x10000, INTERRUPT_32
    enter_user32 user
user:
    attempt
    int 0x30
    caught 13, 0x30 * 8 + 2
    attempt
    int 13
    caught 13, 13 * 8 + 2
    attempt
    ud2
    caught 6
    leave_user
    exit 0

.include "../catch32.inc"
