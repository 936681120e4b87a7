# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Segments of real mode have 64 KiB: a word at offset FFFFH is #GP, through SS #SS.
#
# Source: Intel SDM vol. 3A §20.1.4, table 20-1 (real-address mode exceptions and interrupts).

.include "../check16.inc"

    call catch_faults
    mov bx, 0xFFFF
    mov al, [bx]
    attempt
    mov ax, [bx]
    caught 13
    mov bp, 0xFFFF
    attempt
    mov ax, [bp]
    caught 12
    mov ebx, 0x10000
    attempt
    mov al, [ebx]
    caught 13
    exit 0

.include "../catch16.inc"
