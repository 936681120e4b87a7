# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# The processor sets the accessed flag of every entry that it uses for a translation.
#
# Source: Intel SDM vol. 3A §4.8 (accessed and dirty flags).

.include "../check64.inc"

    call catch_faults
    call open_window
    map_window WINDOW_PAGE + PTE_P + PTE_W
    test byte ptr [WINDOW_PT], PTE_A
    holds z
    and byte ptr [PD_BASE + 0x1000], ~PTE_A
    call reload_cr3
    mov al, [WINDOW]
    mov al, [WINDOW_PT]
    and al, PTE_A + PTE_D
    equal al, PTE_A
    test byte ptr [PD_BASE + 0x1000], PTE_A
    holds nz
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
