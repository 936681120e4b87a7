# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# CR4.PCIDE cannot be set while CR3 has a PCID other than 0.
#
# Source: Intel SDM vol. 2B, MOV to control registers; vol. 3A §4.10.1.

.include "../check64.inc"

    call catch_faults
    needs 1, ecx, 17
    mov rbx, PML4_BASE + 8 # PWT and PCD are in the same place
    mov cr3, rbx
    mov rbx, cr4
    or rbx, CR4_PCIDE
    attempt
    mov cr4, rbx
    caught 13, 0
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
