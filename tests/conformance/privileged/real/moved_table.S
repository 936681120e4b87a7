# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# LIDT moves the vector table in real mode too.
#
# Source: Intel SDM vol. 3A §20.1.4 (interrupt and exception handling).

.include "../check16.inc"

    call catch_faults
    mov word ptr [0x5000 + 4 * 0x30], handler
    mov word ptr [0x5000 + 4 * 0x30 + 2], 0
    lidt [moved]
    xor bx, bx
    int 0x30
    equal bx, 7
    exit 0

handler:
    mov bx, 7
    iret

moved:
    .word 0x3FF
    .long 0x5000

.include "../catch16.inc"
