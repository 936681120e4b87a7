# /// pykvm
# mode = "long"
# irqchip = "full"
# pit = true
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "..........\n10 ticks\n"
# outcome = "exit"
# exit_code = 0
# ///

# A clock: the 8254 timer interrupts a thousand times a second, and the guest counts to ten.
# Between ticks it sleeps. A tick that finds the last one still unserved waits in the controller
# until the handler has written its end of interrupt.
#
# Source: Intel 8254 data sheet (231164), mode 2; Intel 8259A data sheet (231468), EOI.

.include "macros.inc"

TICKS = 10
DIVISOR = 1193 # of 1,193,182 Hz: 1 kHz

    gate PIC_VECTOR, tick
    call load_idt
    mov bl, 0xFE # line 0 alone
    call start_pic

    mov al, 0x34 # channel 0, low and high byte, mode 2: rate generator
    out PIT_COMMAND, al
    mov al, DIVISOR & 0xFF
    out PIT_CHANNEL0, al
    mov al, DIVISOR >> 8
    out PIT_CHANNEL0, al

    xor ebx, ebx
sleep:
    sti
    hlt
    cli
    cmp ebx, TICKS
    jb sleep

    print newline
    mov eax, ebx
    call print_decimal
    print ticks_text
    exit 0

tick:
    inc ebx
    mov al, '.'
    out DEBUGCON_PORT, al
    cmp ebx, TICKS
    jb served
    mov al, 0xFF # enough, however late this one is
    out PIC1 + 1, al
served:
    mov al, PIC_EOI
    out PIC1, al
    iretq

.include "print64.inc"
.include "idt64.inc"
.include "pic64.inc"

ticks_text:
    .asciz " ticks\n"
newline:
    .asciz "\n"
