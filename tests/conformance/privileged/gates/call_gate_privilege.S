# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A gate's DPL must be neither below the CPL nor below the RPL of the selector that names it.
#
# On KVM of host kind 3: it refuses `lcall 0x69, 0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §5.8.4 (privilege check for a call gate).

.include "../check32.inc"

CALL_GATE = EXTRA
KERNEL_GATE = EXTRA + 8

    call catch_faults
    gate_to CALL_GATE, 0x10000, CODE32_SELECTOR, GATE_USER_32
    gate_to KERNEL_GATE, 0x10000, CODE32_SELECTOR, GATE_32
    attempt
    lcall (KERNEL_GATE + 1):0
    caught 13, KERNEL_GATE
    enter_user32 user
user:
    attempt
    lcall KERNEL_GATE:0
    caught 13, KERNEL_GATE
    leave_user
    exit 0

.include "../catch32.inc"
