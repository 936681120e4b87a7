# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# LGDT and LIDT of a base that is not canonical are #GP(0).
#
# Source: Intel SDM vol. 2A, LGDT/LIDT (64-bit mode exceptions).

.include "../check64.inc"

    call catch_faults
    attempt
    lgdt [rip + table]
    caught 13, 0
    attempt
    lidt [rip + table]
    caught 13, 0
    exit 0

table:
    .word 0xFF
    .quad 0x800000000000

.include "../catch64.inc"
