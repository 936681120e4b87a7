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
# seconds ahead, in whatever minute and hour: their bytes match anything.
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
UIE = 1 << 4
AIE = 1 << 5
PIE = 1 << 6
IRQF = 1 << 7
ANY = 0xFF
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
    read_cmos SECONDS
    mov r14b, al
    call following
    write_cmos SECONDS_ALARM, r14b
    expect AIE, 1
    print alarm_text
    exit 0

# The second two after that in r14b, of binary-coded decimal digits.
following:
    mov ecx, 2
1:  inc r14b
    mov al, r14b
    and al, 0x0F
    cmp al, 10
    jb 2f
    add r14b, 6
2:  cmp r14b, 0x60
    jb 3f
    mov r14b, 0
3:  dec ecx
    jnz 1b
    ret

sleep:
    sti
    hlt
    cli
    cmp ebx, r13d
    jb sleep
    ret

clock:
    inc ebx
    read_cmos STATUS_C
    and al, r12b
    cmp al, r12b
    jne wrong
    mov al, PIC_EOI
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
