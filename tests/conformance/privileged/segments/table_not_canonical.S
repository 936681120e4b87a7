# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# LGDT and LIDT of a base that is not canonical are #GP(0). Where the processor has 57-bit linear
# addresses that is what counts, whether they are in use or not.
#
# Source: Intel SDM vol. 2A, LGDT/LIDT (64-bit mode exceptions); vol. 1 §3.3.7.1 (canonical addressing).

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
    .quad 0x100000000000000

.include "../catch64.inc"
