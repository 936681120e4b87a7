# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An access of several bytes that wraps at 4 GiB is beyond the limit, where that is not 4 GiB.
#
# Source: Intel SDM vol. 3A §5.3 (limit checking).

.include "../check32.inc"

SMALL = EXTRA

    call catch_faults
    describe SMALL, 0x0000FFF, 0x00409200
    mov eax, SMALL
    mov fs, eax
    mov ebx, 0xFFFFFFFE
    attempt
    mov eax, fs:[ebx]
    caught 13, 0
    exit 0

.include "../catch32.inc"
