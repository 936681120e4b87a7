# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A gate with a null code selector is #GP(0) for INT n, and #GP(1), EXT set, for an exception.
#
# On KVM of host kind 3: it refuses `int 0x30` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.13 (error code, EXT flag).

.include "../check32.inc"

    call catch_faults
    vector_to 0x30, 0x10000, INTERRUPT_32, 0
    vector_to 5, 0x10000, INTERRUPT_32, 0
    attempt
    int 0x30
    caught 13, 0
    xor eax, eax
    attempt
    bound eax, [bounds]
    caught 13, 1
    exit 0

bounds:
    .long 1, 2

.include "../catch32.inc"
