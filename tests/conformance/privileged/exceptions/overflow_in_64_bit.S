# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INTO is #UD in 64-bit code.
#
# Source: Intel SDM vol. 2A, INT n/INTO/INT3/INT1.

.include "../check64.inc"

    call catch_faults
    attempt
    .byte 0xCE
    caught 6
    exit 0

.include "../catch64.inc"
