# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A gate in the IDT that is not present is #NP with the vector and the IDT bit; one beyond the
# limit, and a descriptor that is no gate, #GP.
#
# On KVM of host kind 3: it refuses `int 0x30` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, INT n (protected mode exceptions); vol. 3A §6.13 (error code).

.include "../check32.inc"

    call catch_faults
    vector_to 0x30, 0x10000, 0x0E
    vector_to 0x31, 0x10000, GATE_32
    attempt
    int 0x30
    caught 11, 0x30 * 8 + 2
    attempt
    int 0x31
    caught 13, 0x31 * 8 + 2
    attempt
    int 0x40
    caught 13, 0x40 * 8 + 2
    exit 0

.include "../catch32.inc"
