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

# An NMI is vector 2, and IF does not matter. Here the local APIC sends one to itself.
#
# On KVM of host kind 3: check 1 fails: NMIs come later where CPL 0 is emulated.
#
# Source: Intel SDM vol. 3A §6.7.1 (handling multiple NMIs), §10.6.1 (ICR, delivery mode NMI).

.include "../check64.inc"

    call begin
    gate 2, on_nmi
    xor ebx, ebx
    cli
    send_nmi
    nop
    nop
    equal ebx, 1
    exit 0

on_nmi:
    inc ebx
    iretq

.include "../catch64.inc"
.include "../lapic64.inc"
