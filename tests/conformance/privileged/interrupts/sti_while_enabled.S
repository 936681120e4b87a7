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

# STI with IF set already holds nothing off; an interrupt that waits comes before the STI.
#
# On KVM of host kind 3: check 1 fails: interrupts come later where CPL 0 is emulated.
#
# Source: Intel SDM vol. 2B, STI; vol. 3A §6.8.1.

.include "../check64.inc"

    call begin
    xor ebx, ebx
    sti
    nop
    send_self 0x30
    nop # a register write takes effect in its time
    nop
    sti
    inc ebx
    equal dword ptr [rip + seen_ebx], 0
    exit 0

.include "../catch64.inc"
.include "../lapic64.inc"
