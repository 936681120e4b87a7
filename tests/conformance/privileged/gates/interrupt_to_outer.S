# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A handler never runs at an outer level: #GP with the selector of the code segment.
#
# On KVM of host kind 3: it refuses `int 0x30` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.12.1.2 (protection of handler procedures).

.include "../check32.inc"

    call catch_faults
    vector_to 0x30, 0x10000, INTERRUPT_32, USER_CODE32_SELECTOR
    attempt
    int 0x30
    caught 13, USER_CODE32_SELECTOR
    exit 0

.include "../catch32.inc"
