# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A write sets the dirty flag of the entry that maps the page, also where a read has used it before,
# and of no other entry.
#
# Source: Intel SDM vol. 3A §4.8 (accessed and dirty flags).

.include "../check64.inc"

    call catch_faults
    call open_window
    map_window WINDOW_PAGE + PTE_P + PTE_W
    mov al, [WINDOW]
    mov [WINDOW], al
    mov al, [WINDOW_PT]
    and al, PTE_A + PTE_D
    equal al, PTE_A + PTE_D
    test byte ptr [PD_BASE + 0x1000], PTE_D
    holds z
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
