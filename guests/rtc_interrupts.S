# /// pykvm
# mode = "long"
# irqchip = "full"
# devices = ["cmos", "debugcon", "exit"]
#
# [expect]
# output = "periodic\nupdate\nalarm\n"
# outcome = "exit"
# exit_code = 0
# ///

# The real-time clock's three interrupts, on line 8: at a rate, after each second, and at a time of
# day. Register C says which it was, and until it is read there is no other. The alarm here is two
# seconds ahead, in whatever minute and hour: their bytes match anything. The clock stands still
# until that alarm is on, so that a slow host cannot miss it.
#
# Source: Motorola MC146818 data sheet, "Interrupts"; Intel 8259A data sheet (231468), EOI.

.include "macros.inc"

CMOS_DATA = CMOS_PORT + 1
SECONDS = 0x00
SECONDS_ALARM = 0x01
MINUTES_ALARM = 0x03
HOURS_ALARM = 0x05
STATUS_A = 0x0A
STATUS_B = 0x0B
STATUS_C = 0x0C
RATE_1024HZ = 0x26
H24 = 1 << 1
SET = 1 << 7
UIE = 1 << 4
AIE = 1 << 5
PIE = 1 << 6
IRQF = 1 << 7
ANY = 0xFF
BEFORE = 0x58 # the second, as set
ALARM = 0x00 # two seconds later
TICKS = 4

# Read the byte at an index into al.
.macro read_cmos index
    mov al, \index
    out CMOS_PORT, al
    in al, CMOS_DATA
.endm

.macro write_cmos index, value
    mov al, \index
    out CMOS_PORT, al
    mov al, \value
    out CMOS_DATA, al
.endm

# Enable an interrupt of register B, and wait until as many have come as `count`; each one's flag,
# which has the same bit, is to be there, and IRQF.
.macro expect enable, count
    read_cmos STATUS_C # what came before does not count
    xor ebx, ebx
    mov r12b, \enable | IRQF
    write_cmos STATUS_B, \enable | H24
    mov r13d, \count
    call sleep
    write_cmos STATUS_B, H24
.endm

    gate PIC_VECTOR + 8, clock
    call load_idt
    mov bl, 0xFB # line 2 alone, which leads to the second controller
    call start_pic
    mov al, 0xFE # and its line 0
    out PIC2 + 1, al

    write_cmos STATUS_A, RATE_1024HZ
    expect PIE, TICKS
    print periodic_text
    expect UIE, 1
    print update_text

    write_cmos HOURS_ALARM, ANY
    write_cmos MINUTES_ALARM, ANY
    write_cmos SECONDS_ALARM, ALARM
    write_cmos STATUS_B, SET | H24
    write_cmos SECONDS, BEFORE
    expect AIE, 1
    print alarm_text
    exit 0

sleep:
    sti
    hlt
    cli
    cmp ebx, r13d
    jb sleep
    ret

# What came after the last one that counts, before register B was written, is still on its way when
# register C has been read: nothing is left of it but the edge, which has no IRQF.
clock:
    read_cmos STATUS_C
    test al, IRQF
    jz 1f
    inc ebx
    and al, r12b
    cmp al, r12b
    jne wrong
1:  mov al, PIC_EOI
    out PIC2, al
    out PIC1, al
    iretq

wrong:
    exit 1

.include "print64.inc"
.include "idt64.inc"
.include "pic64.inc"

periodic_text:
    .asciz "periodic\n"
update_text:
    .asciz "update\n"
alarm_text:
    .asciz "alarm\n"
