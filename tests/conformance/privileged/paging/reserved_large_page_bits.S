# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Between its PAT bit and the page's address, an entry of a 2 MiB page has reserved bits.
#
# Source: Intel SDM vol. 3A §4.5.4 (entry that maps a 2-MByte page), §4.7 (RSVD flag).

.include "../check64.inc"

    call catch_faults
    mov qword ptr [PD_BASE + 0x1000], 0x202000 + PTE_P + PTE_W + PDE_PS
    call reload_cr3
    attempt
    mov al, [WINDOW]
    caught 14, PF_P + PF_RSVD
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
