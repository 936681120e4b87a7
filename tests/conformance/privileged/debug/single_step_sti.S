# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# STI holds interrupts off, but no single-step trap.
#
# Source: Intel SDM vol. 3B §17.3.1.4; vol. 2B, STI.

.include "../check64.inc"

    call catch_faults
    push FLAG_TF + 2
    attempt
    popfq
    sti
1:
    nop
    caught 1
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    exit 0

.include "../catch64.inc"
