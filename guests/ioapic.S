# /// pykvm
# mode = "long"
# irqchip = "full"
# pit = true
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "the timer's interrupt came by the I/O APIC\n"
# outcome = "exit"
# exit_code = 0
# ///

# The I/O APIC sends a device's line to a processor, as a message with a vector of choice. The
# 8259 is masked, so the 8254's interrupt can come no other way. Firmware tables would tell which
# pin the timer hangs on; it is 0 or 2, and the guest opens both.
#
# Source: Intel 82093AA data sheet (290566) §3.1, §3.2.4 (redirection table).

.include "macros.inc"
.include "lapic64.inc"

IOAPIC_INDEX = IOAPIC_BASE
IOAPIC_DATA = IOAPIC_BASE + 0x10
REDIRECTION = 0x10 # index of pin 0's low half; the high half follows
TIMER_VECTOR = 0x30

    gate TIMER_VECTOR, timer
    call load_idt
    mov bl, 0xFF
    call start_pic
    lapic_write LAPIC_SPURIOUS, LAPIC_ENABLE

    mov ecx, REDIRECTION
    call open_pin
    mov ecx, REDIRECTION + 2 * 2
    call open_pin

    mov al, 0x30 # channel 0, low and high byte, mode 0: interrupt on terminal count
    out PIT_COMMAND, al
    mov al, 0x00
    out PIT_CHANNEL0, al
    mov al, 0x10
    out PIT_CHANNEL0, al
    sti
    hlt
    exit 1 # woken by something else

# Send the pin at index ecx to processor 0: edge-triggered, active high, fixed delivery.
open_pin:
    mov edi, IOAPIC_INDEX
    mov esi, IOAPIC_DATA
    lea eax, [rcx + 1]
    mov dword ptr [rdi], eax
    mov dword ptr [rsi], 0
    mov dword ptr [rdi], ecx
    mov dword ptr [rsi], TIMER_VECTOR
    ret

timer:
    lapic_write LAPIC_EOI, 0
    print text
    exit 0

.include "print64.inc"
.include "idt64.inc"
.include "pic64.inc"

text:
    .asciz "the timer's interrupt came by the I/O APIC\n"
