# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# LLDT takes descriptors of LDTs in the GDT only: #GP with the selector; #NP where it is not
# present.
#
# Source: Intel SDM vol. 2A, LLDT.

.include "../check32.inc"

ABSENT = EXTRA

    call catch_faults
    describe ABSENT, 15, 0x00000200
    mov ebx, DATA_SELECTOR
    attempt
    lldt bx
    caught 13, DATA_SELECTOR
    mov ebx, EXTRA + 4
    attempt
    lldt bx
    caught 13, EXTRA + 4
    mov ebx, ABSENT
    attempt
    lldt bx
    caught 11, ABSENT
    exit 0

.include "../catch32.inc"
