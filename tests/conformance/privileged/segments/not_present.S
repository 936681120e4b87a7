# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Loading a segment that is not present is #NP with the selector, for SS #SS.
#
# Source: Intel SDM vol. 3A §6.15 (interrupts 11 and 12).

.include "../check32.inc"

ABSENT = EXTRA

    call catch_faults
    describe ABSENT, 0x0000FFFF, 0x00CF1200
    mov ebx, ABSENT
    attempt
    mov fs, ebx
    caught 11, ABSENT
    attempt
    mov ss, ebx
    caught 12, ABSENT
    exit 0

.include "../catch32.inc"
