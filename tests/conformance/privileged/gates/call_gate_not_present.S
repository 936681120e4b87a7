# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A gate that is not present is #NP with its selector; one to a segment that is not, with the
# segment's.
#
# On KVM of host kind 3: it refuses `lcall 0x60, 0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, CALL (protected mode exceptions).

.include "../check32.inc"

CALL_GATE = EXTRA
ABSENT_CODE = EXTRA + 8
ABSENT_GATE = EXTRA + 16

    call catch_faults
    describe ABSENT_CODE, 0x0000FFFF, 0x00CF1A00
    gate_to CALL_GATE, 0x10000, ABSENT_CODE, GATE_32
    gate_to ABSENT_GATE, 0x10000, CODE32_SELECTOR, 0x0C
    attempt
    lcall CALL_GATE:0
    caught 11, ABSENT_CODE
    attempt
    lcall ABSENT_GATE:0
    caught 11, ABSENT_GATE
    exit 0

.include "../catch32.inc"
