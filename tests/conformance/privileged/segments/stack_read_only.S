# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SS takes no segment that cannot be written to: #GP with the selector.
#
# Source: Intel SDM vol. 2B, MOV (loading SS).

.include "../check32.inc"

READ_ONLY = EXTRA

    call catch_faults
    describe READ_ONLY, 0x0000FFFF, 0x00CF9000
    mov ebx, READ_ONLY
    attempt
    mov ss, ebx
    caught 13, READ_ONLY
    exit 0

.include "../catch32.inc"
