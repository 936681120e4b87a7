# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# TF traces in real mode too, and the handler has it clear.
#
# Source: Intel SDM vol. 3A §20.1.4; vol. 3B §17.3.1.4.

.include "../check16.inc"

    call catch_faults
    xor bx, bx
    push FLAG_TF + 2
    attempt
    popf
    inc bx
1:
    inc bx
    caught 1
    equal bx, 1
    equal word ptr [caught_ip], 1b
    exit 0

.include "../catch16.inc"
