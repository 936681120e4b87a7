# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With CR0.WP clear CPL 0 may write to pages that are read-only; with WP set it may not.
#
# Source: Intel SDM vol. 3A §4.6.1 (determination of access rights).

.include "../check64.inc"

    call catch_faults
    call open_window
    map_window WINDOW_PAGE + PTE_P
    mov dword ptr [WINDOW], 1
    set_bits cr0, CR0_WP
    attempt
    mov dword ptr [WINDOW], 2
    caught 14, PF_P + PF_W
    equal dword ptr [WINDOW_PAGE], 1
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
