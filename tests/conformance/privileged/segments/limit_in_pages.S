# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With G set the limit counts pages of 4 KiB, and the last one is in.
#
# Source: Intel SDM vol. 3A §3.4.5 (granularity flag), §5.3 (limit checking).

.include "../check32.inc"

SMALL = EXTRA

    call catch_faults
    describe SMALL, 0x0000001, 0x00C09200 # two pages
    mov eax, SMALL
    mov fs, eax
    mov al, fs:[0x1FFF]
    attempt
    mov al, fs:[0x2000]
    caught 13, 0
    exit 0

.include "../catch32.inc"
