# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INT3 at CPL 3 needs a gate with DPL 3: #GP with the vector and the IDT bit.
#
# On KVM of host kind 3: check 1 fails, after vector 3 with error code 0: INT3 goes through a gate
# with DPL 0.
#
# Source: Intel SDM vol. 3A §6.12.1.2 (protection of handler procedures); vol. 2A, INT3.

.include "../check64.inc"

    call catch_faults
    enter_user user
user:
    attempt
    int3
    caught 13, 3 * 8 + 2
    exit 0

.include "../catch64.inc"
