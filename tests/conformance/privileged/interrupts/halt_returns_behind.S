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

# An interrupt that wakes the processor from HLT returns to the instruction behind it.
#
# Source: Intel SDM vol. 2A, HLT.

.include "../check64.inc"

    call begin
    send_self 0x30
    sti
1:
    hlt
2:
    equal dword ptr [rip + seen], 1
    lea rax, [rip + 2b]
    equal [rip + seen_rip], rax
    exit 0

.include "../catch64.inc"
.include "../lapic64.inc"
