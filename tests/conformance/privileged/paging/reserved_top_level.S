# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# The PS bit is reserved in an entry of the PML4.
#
# Source: Intel SDM vol. 3A §4.5.4 (format of a PML4E), §4.7 (RSVD flag).

.include "../check64.inc"

    call catch_faults
    mov qword ptr [PML4_BASE + 8], PDPT_BASE + PTE_P + PTE_W + PDE_PS
    mov rbx, 1 << 39
    attempt
    mov al, [rbx]
    caught 14, PF_P + PF_RSVD
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
