# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# The flags that a fault pushes have RF set.
#
# Source: Intel SDM vol. 3B §17.3.1.1 (instruction-breakpoint exception condition, RF flag).

.include "../check64.inc"

    call catch_faults
    attempt
    ud2
    caught 6
    test dword ptr [rip + caught_flags], FLAG_RF
    holds nz
    exit 0

.include "../catch64.inc"
