# /// pykvm
# mode = "long"
# irqchip = "full"
# pit = true
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "asleep\ninterrupt\nawake\n"
# outcome = "exit"
# exit_code = 0
# ///

# HLT sleeps until an interrupt comes: the 8254 timer fires once, through the 8259 controller. STI
# lets interrupts in only after the next instruction, so none can slip in before the HLT. All of
# it stays inside KVM: no port of the timer, no HLT and no interrupt is an exit.
#
# Source: Intel SDM vol. 2A, HLT; vol. 2B, STI; Intel 8254 data sheet (231164), mode 0.

.include "macros.inc"

    gate PIC_VECTOR, timer
    call load_idt
    mov bl, 0xFE # line 0 alone
    call start_pic

    print asleep_text
    mov al, 0x30 # channel 0, low and high byte, mode 0: interrupt on terminal count
    out PIT_COMMAND, al
    mov al, 0x00 # 0x1000 ticks of 1.193182 MHz: 3.4 ms
    out PIT_CHANNEL0, al
    mov al, 0x10
    out PIT_CHANNEL0, al
    sti
    hlt
    cli
    print awake_text
    exit 0

timer:
    mov al, 0xFF # no more, should whoever puts this state into another machine start the timer anew
    out PIC1 + 1, al
    print interrupt_text
    mov al, PIC_EOI
    out PIC1, al
    iretq

.include "print64.inc"
.include "idt64.inc"
.include "pic64.inc"

asleep_text:
    .asciz "asleep\n"
interrupt_text:
    .asciz "interrupt\n"
awake_text:
    .asciz "awake\n"
