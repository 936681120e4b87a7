# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A write that the access rights forbid sets no dirty flag.
#
# Source: Intel SDM vol. 3A §4.8 (accessed and dirty flags).

.include "../check64.inc"

    call catch_faults
    call open_window
    set_bits cr0, CR0_WP
    map_window WINDOW_PAGE + PTE_P
    attempt
    mov [WINDOW], al
    caught 14, PF_P + PF_W
    test byte ptr [WINDOW_PT], PTE_D
    holds z
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
