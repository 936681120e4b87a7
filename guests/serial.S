# /// pykvm
# mode = "long"
# devices = ["serial", "exit"]
#
# [expect]
# output = "Hello over the serial line\n"
# outcome = "exit"
# exit_code = 0
# exits = { PortIn = 28, PortOut = 34 }
# ///

# The serial port of a PC, by polling. The guest sets speed and frame, then waits before each byte
# until the line status register says that the transmitter has room.
#
# Source: National Semiconductor PC16550D data sheet §8.1 (LCR), §8.3 (divisor), §8.4 (LSR).

.include "macros.inc"
.include "serial.inc"

    mov al, LCR_DLAB # the first two registers become the divisor
    mov dx, COM1_LCR
    out dx, al
    mov ax, 1 # of 115,200 baud
    mov dx, COM1_DIVISOR
    out dx, al
    inc dx
    mov al, 0
    out dx, al
    mov al, LCR_8N1
    mov dx, COM1_LCR
    out dx, al
    mov al, FCR_ENABLE
    mov dx, COM1_FCR
    out dx, al
    mov al, MCR_DTR_RTS
    mov dx, COM1_MCR
    out dx, al

    lea rsi, [rip + text]
next:
    mov dx, COM1_LSR
wait:
    in al, dx
    test al, LSR_THRE
    jz wait
    lodsb
    test al, al
    jz done
    mov dx, COM1_DATA
    out dx, al
    jmp next
done:
    exit 0

text:
    .asciz "Hello over the serial line\n"
