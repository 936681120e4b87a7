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

# HLT sleeps until an interrupt comes, here of the local APIC's timer, which counts down once.
#
# Source: Intel SDM vol. 2A, HLT; vol. 3A §10.5.4 (APIC timer).

.include "../check64.inc"

    call begin
    lapic_write LAPIC_TIMER_DIVIDE, 0xB # by 1
    lapic_write LAPIC_TIMER, 0x30
    lapic_write LAPIC_TIMER_START, 10000
    sti
    hlt
    cli
    equal dword ptr [rip + seen], 1
    exit 0

.include "../catch64.inc"
.include "../lapic64.inc"
