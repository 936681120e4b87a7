# /// pykvm
# mode = "long"
# irqchip = "full"
# devices = ["serial", "exit"]
#
# [expect]
# output = "Hello by interrupt\n"
# outcome = "exit"
# exit_code = 0
# exits = { PortIn = 19, PortOut = 23 }
# ///

# The serial port of a PC, by interrupt. Each time the transmitter has room the port raises line 4
# of the 8259, and the handler sends one byte; the guest sleeps between. After the last byte the
# handler turns the interrupt off.
#
# Source: National Semiconductor PC16550D data sheet §8.6 (IIR), §8.7 (IER).

.include "macros.inc"
.include "serial.inc"

    gate PIC_VECTOR + COM1_IRQ, transmit
    call load_idt
    mov bl, ~(1 << COM1_IRQ) & 0xFF
    call start_pic

    lea rsi, [rip + text]
    mov al, MCR_OUT2 + MCR_DTR_RTS
    mov dx, COM1_MCR
    out dx, al
    mov al, IER_THR_EMPTY # the transmitter is empty: interrupts at once
    mov dx, COM1_IER
    out dx, al

sleep:
    sti
    hlt
    cli
    cmp byte ptr [rsi], 0
    jne sleep
    exit 0

transmit:
    mov dx, COM1_IIR # reading it takes the request back
    in al, dx
    and al, IIR_SOURCE
    cmp al, IIR_THR_EMPTY
    jne wrong
    lodsb
    cmp byte ptr [rsi], 0
    jne send
    mov ah, al # the last byte: no more requests, not even for a moment
    mov al, 0
    mov dx, COM1_IER
    out dx, al
    mov al, ah
send:
    mov dx, COM1_DATA
    out dx, al
    mov al, PIC_EOI
    out PIC1, al
    iretq
wrong:
    exit 1

.include "idt64.inc"
.include "pic64.inc"

text:
    .asciz "Hello by interrupt\n"
