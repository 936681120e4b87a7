# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An instruction of more than 15 bytes is #GP(0).
#
# Source: Intel SDM vol. 2A §2.3.11; vol. 3A §6.15 (interrupt 13).

.include "../check64.inc"

    call catch_faults
    attempt
    .fill 15, 1, 0x66
    nop
    caught 13, 0
    exit 0

.include "../catch64.inc"
