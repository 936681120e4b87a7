# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Bit 63 of CR3 is reserved while CR4.PCIDE is clear.
#
# Source: Intel SDM vol. 2B, MOV to control registers; vol. 3A §4.10.4.1.

.include "../check64.inc"

    call catch_faults
    mov rbx, PML4_BASE
    bts rbx, 63
    attempt
    mov cr3, rbx
    caught 13, 0
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
