# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# POPF that clears TF is still traced itself.
#
# Source: Intel SDM vol. 3B §17.3.1.4 (single-step exception condition).

.include "../check64.inc"

    call catch_faults
    push 2
    push FLAG_TF + 2
    attempt
    popfq
    popfq
1:
    nop
    caught 1
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    exit 0

.include "../catch64.inc"
