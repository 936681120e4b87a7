# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# irqchip = "full"
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A single-step trap wakes the processor from HLT at once.
#
# Source: Intel SDM vol. 2A, HLT (a debug exception resumes); vol. 3B §17.3.1.4.

.include "../check64.inc"

    call begin
    push FLAG_TF + 2
    attempt
    popfq
    hlt
1:
    caught 1
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    exit 0

.include "../catch64.inc"
.include "../lapic64.inc"
