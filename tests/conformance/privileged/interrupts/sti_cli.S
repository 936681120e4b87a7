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

# Between STI and CLI no interrupt comes, but one comes in between STI, NOP and CLI.
#
# On KVM of host kind 3: check 2 fails: interrupts come later where CPL 0 is emulated.
#
# Source: Intel SDM vol. 2B, STI.

.include "../check64.inc"

    call begin
    send_self 0x30
    xor ebx, ebx
    sti
    cli
    inc ebx
    equal dword ptr [rip + seen], 0
    sti
    nop
    cli
    equal dword ptr [rip + seen_ebx], 1
    exit 0

.include "../catch64.inc"
.include "../lapic64.inc"
