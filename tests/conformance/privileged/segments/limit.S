# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An access must end within the segment's limit: #GP(0) for one that does not.
#
# Source: Intel SDM vol. 3A §5.3 (limit checking).

.include "../check32.inc"

SMALL = EXTRA

    call catch_faults
    describe SMALL, 0x0000FFF, 0x00409200 # 4 KiB of data, in bytes
    mov eax, SMALL
    mov fs, eax
    mov al, fs:[0xFFF]
    mov eax, fs:[0xFFC]
    attempt
    mov al, fs:[0x1000]
    caught 13, 0
    attempt
    mov eax, fs:[0xFFD]
    caught 13, 0
    exit 0

.include "../catch32.inc"
