# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A data segment without W cannot be written to: #GP(0).
#
# Source: Intel SDM vol. 3A §5.4 (type checking).

.include "../check32.inc"

READ_ONLY = EXTRA

    call catch_faults
    describe READ_ONLY, 0x0000FFFF, 0x00CF9000
    mov eax, READ_ONLY
    mov fs, eax
    mov eax, fs:[0x20000]
    attempt
    mov fs:[0x20000], eax
    caught 13, 0
    exit 0

.include "../catch32.inc"
