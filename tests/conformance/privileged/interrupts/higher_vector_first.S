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

# Of two interrupts that wait, the one with the higher vector comes first.
#
# On KVM of host kind 3: check 1 fails: interrupts come later where CPL 0 is emulated.
#
# Source: Intel SDM vol. 3A §10.8.3 (interrupt, task, and processor priority).

.include "../check64.inc"

    call begin
    gate 0x3A, on_high
    send_self 0x30
    send_self 0x3A
    xor ebx, ebx
    sti
    nop
    nop
    cli
    equal ebx, 1
    equal dword ptr [rip + seen_ebx], 1
    exit 0

on_high:
    inc ebx
    push rax
    push rdx
    lapic_write LAPIC_EOI, 0
    pop rdx
    pop rax
    iretq

.include "../catch64.inc"
.include "../lapic64.inc"
