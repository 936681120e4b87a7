# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A gate with a null code selector is #GP(0), with a data segment #GP with that selector.
#
# On KVM of host kind 3: it refuses `lcall 0x60, 0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, CALL (protected mode exceptions).

.include "../check32.inc"

CALL_GATE = EXTRA
GATE_DATA = EXTRA + 8

    call catch_faults
    gate_to CALL_GATE, 0x10000, 0, GATE_32
    gate_to GATE_DATA, 0x10000, DATA_SELECTOR, GATE_32
    attempt
    lcall CALL_GATE:0
    caught 13, 0
    attempt
    lcall GATE_DATA:0
    caught 13, DATA_SELECTOR
    exit 0

.include "../catch32.inc"
