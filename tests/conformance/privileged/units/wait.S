# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# WAIT is #NM only where CR0.TS and CR0.MP are both set.
#
# On KVM of host kind 3: it refuses `wait` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §2.5, table 2-2 (action taken by x87 FPU instructions).

.include "../check64.inc"

    call catch_faults
    clear_bits cr0, CR0_MP
    set_bits cr0, CR0_TS
    wait
    set_bits cr0, CR0_MP
    attempt
    wait
    caught 7
    exit 0

.include "../catch64.inc"
