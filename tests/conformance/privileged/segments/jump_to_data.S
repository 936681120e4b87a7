# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A far jump to a data segment is #GP with the selector, to code that is not present #NP.
#
# Source: Intel SDM vol. 2A, JMP.

.include "../check32.inc"

ABSENT = EXTRA

    call catch_faults
    describe ABSENT, 0x0000FFFF, 0x00CF1A00
    attempt
    ljmp DATA_SELECTOR:0x10000
    caught 13, DATA_SELECTOR
    attempt
    ljmp ABSENT:0x10000
    caught 11, ABSENT
    exit 0

.include "../catch32.inc"
