# /// pykvm
# mode = "long"
# memory = "16M"
# devices = ["cmos", "debugcon", "exit"]
#
# [expect]
# output = "640 KiB below 1 MiB, 15360 KiB above\nthe date is a date\n"
# outcome = "exit"
# exit_code = 0
# ///

# CMOS memory and the clock in it: an index port and a data port. Firmware leaves there how much
# memory it found. The time must not be read while it changes, which the flag UIP announces 244 µs
# ahead; its bytes are decimal digits, four bits each.
#
# Source: Motorola MC146818 data sheet, "Address map", "Register A (UIP)"; docs/devices/cmos.md.

.include "macros.inc"

CMOS_DATA = CMOS_PORT + 1
DAY = 0x07
MONTH = 0x08
YEAR = 0x09
STATUS_A = 0x0A
UPDATE_IN_PROGRESS = 1 << 7
STATUS_D = 0x0D
BATTERY_GOOD = 1 << 7
BASE_KIB = 0x15     # two bytes, low one first
EXTENDED_KIB = 0x17 # the same

# Read the byte at an index into al.
.macro read_cmos index
    mov al, \index
    out CMOS_PORT, al
    in al, CMOS_DATA
.endm

# Read the two bytes from an index on into eax.
.macro read_cmos_word index
    read_cmos \index + 1
    movzx ebx, al
    shl ebx, 8
    read_cmos \index
    movzx eax, al
    or eax, ebx
.endm

# Go to `wrong` unless the decimal digits at an index are from `least` to `most`.
.macro check_digits index, least, most
    read_cmos \index
    cmp al, \least
    jb wrong
    cmp al, \most
    ja wrong
    and al, 0x0F
    cmp al, 9
    ja wrong
.endm

    read_cmos_word BASE_KIB
    call print_decimal
    print base_text
    read_cmos_word EXTENDED_KIB
    call print_decimal
    print extended_text

    read_cmos STATUS_D
    test al, BATTERY_GOOD
    jz wrong
updating:
    read_cmos STATUS_A
    test al, UPDATE_IN_PROGRESS
    jnz updating
    check_digits DAY, 0x01, 0x31
    check_digits MONTH, 0x01, 0x12
    check_digits YEAR, 0x00, 0x99
    print date_text
    exit 0
wrong:
    exit 1

.include "print64.inc"

base_text:
    .asciz " KiB below 1 MiB, "
extended_text:
    .asciz " KiB above\n"
date_text:
    .asciz "the date is a date\n"
