# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# The flags that a fault pushes have RF set, those of INT n and traps do not.
#
# On KVM of host kind 3: it refuses `int3` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3B §17.3.1.1 (instruction-breakpoint exception condition, RF flag).

.include "../check64.inc"

    call catch_faults
    attempt
    ud2
    caught 6
    test dword ptr [rip + caught_flags], FLAG_RF
    holds nz
    attempt
    int3
    caught 3
    test dword ptr [rip + caught_flags], FLAG_RF
    holds z
    exit 0

.include "../catch64.inc"
