# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A gate never leads to an outer level: #GP with the selector of the code segment.
#
# On KVM of host kind 3: it refuses `lcall 0x60, 0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §5.8.4 (privilege check for a call gate).

.include "../check32.inc"

CALL_GATE = EXTRA

    call catch_faults
    gate_to CALL_GATE, 0x10000, USER_CODE32_SELECTOR, GATE_32
    attempt
    lcall CALL_GATE:0
    caught 13, USER_CODE32_SELECTOR
    exit 0

.include "../catch32.inc"
