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

# An interrupt in service keeps back those of its class and below until EOI.
#
# On KVM of host kind 3: check 1 fails: interrupts come later where CPL 0 is emulated.
#
# Source: Intel SDM vol. 3A §10.8.4 (interrupt acceptance for fixed interrupts), §10.8.5 (EOI).

.include "../check64.inc"

    call begin
    gate 0x34, on_first
    send_self 0x34
    sti
    nop
    nop
    cli
    equal dword ptr [rip + seen_ebx], 2
    exit 0

on_first:
    push rax
    push rdx
    mov ebx, 1
    send_self 0x30
    sti
    nop
    nop
    mov ebx, 2
    lapic_write LAPIC_EOI, 0
    nop
    cli
    pop rdx
    pop rax
    iretq

.include "../catch64.inc"
.include "../lapic64.inc"
