# /// pykvm
# mode = "long"
# irqchip = "split"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "...\n3 interrupts of the local APIC's timer\n"
# outcome = "exit"
# exit_code = 0
# ///

# Every processor has a timer of its own: the local APIC's. It counts down and interrupts, here
# again and again. The APIC's registers are memory that KVM answers itself, so none of it is an
# exit. With irqchip = "split" there is no 8259 and no 8254 at all.
#
# Source: Intel SDM vol. 3A §10.5.4 (APIC timer), §10.8.5 (end of interrupt).

.include "macros.inc"
.include "lapic64.inc"

TIMER_VECTOR = 0x30
PERIODIC = 1 << 17
DIVIDE_BY_1 = 0xB
INTERRUPTS = 3

    gate TIMER_VECTOR, tick
    call load_idt
    xor ebx, ebx
    lapic_write LAPIC_SPURIOUS, LAPIC_ENABLE
    lapic_write LAPIC_TIMER_DIVIDE, DIVIDE_BY_1
    lapic_write LAPIC_TIMER, TIMER_VECTOR + PERIODIC
    lapic_write LAPIC_TIMER_START, 1000000 # of the bus clock, 1 GHz in KVM

sleep:
    sti
    hlt
    cli
    cmp ebx, INTERRUPTS
    jb sleep

    print newline
    mov eax, ebx
    call print_decimal
    print text
    exit 0

tick:
    cmp ebx, INTERRUPTS
    je served # one that was on its way when the timer was stopped
    inc ebx
    mov al, '.'
    out DEBUGCON_PORT, al
    cmp ebx, INTERRUPTS
    jb served
    lapic_write LAPIC_TIMER_START, 0 # enough
served:
    lapic_write LAPIC_EOI, 0
    iretq

.include "print64.inc"
.include "idt64.inc"

text:
    .asciz " interrupts of the local APIC's timer\n"
newline:
    .asciz "\n"
