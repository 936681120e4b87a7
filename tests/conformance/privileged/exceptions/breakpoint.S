# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INT3 is a trap: its address in the frame is the one behind it.
#
# On KVM of host kind 3: it refuses `int3` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 3); vol. 2A, INT3.

.include "../check64.inc"

    call catch_faults
    attempt
    int3
1:
    caught 3
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    exit 0

.include "../catch64.inc"
