# /// pykvm
# mode = "long"
# irqchip = "full"
# pit = true
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "the timer's line is raised, its interrupt masked\n"
# outcome = "exit"
# exit_code = 0
# ///

# A masked line of the 8259 can be watched without an interrupt. Its request register shows that
# the line is raised, and the guest polls it until the 8254 has counted down.
#
# Source: Intel 8259A data sheet (231468), OCW3 (read register command).

.include "macros.inc"

READ_IRR = 0x0A

    mov bl, 0xFF # all masked
    call start_pic
    mov al, 0x30 # channel 0, low and high byte, mode 0: the output rises at the end
    out PIT_COMMAND, al
    mov al, 0x00
    out PIT_CHANNEL0, al
    mov al, 0x08
    out PIT_CHANNEL0, al

    mov al, READ_IRR
    out PIC1, al
poll:
    in al, PIC1
    test al, 1
    jz poll

    print text
    exit 0

.include "print64.inc"
.include "pic64.inc"

text:
    .asciz "the timer's line is raised, its interrupt masked\n"
