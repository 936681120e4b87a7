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

# POPF that sets IF holds nothing off.
#
# On KVM of host kind 3: check 1 fails: interrupts come later where CPL 0 is emulated.
#
# Source: Intel SDM vol. 2B, POPF; vol. 3A §6.8.1.

.include "../check64.inc"

    call begin
    send_self 0x30
    xor ebx, ebx
    push FLAG_IF + 2
    popfq
    inc ebx
    equal dword ptr [rip + seen_ebx], 0
    exit 0

.include "../catch64.inc"
.include "../lapic64.inc"
