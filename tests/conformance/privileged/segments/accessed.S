# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Loading a segment register sets the accessed bit of the descriptor.
#
# Source: Intel SDM vol. 3A §3.4.5.1 (code- and data-segment descriptor types).

.include "../check32.inc"

FRESH = EXTRA

    call catch_faults
    describe FRESH, 0x0000FFFF, 0x00CF9200
    mov ebx, FRESH
    mov fs, ebx
    equal byte ptr [own_gdt + FRESH + 5], 0x93
    exit 0

.include "../catch32.inc"
