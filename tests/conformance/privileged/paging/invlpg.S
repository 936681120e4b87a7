# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INVLPG ends the translation of one page.
#
# Source: Intel SDM vol. 3A §4.10.4.1 (INVLPG).

.include "../check64.inc"

    call catch_faults
    mov dword ptr [WINDOW_PAGE], 1
    mov dword ptr [WINDOW_PAGE2], 2
    call open_window
    map_window WINDOW_PAGE + PTE_P
    equal dword ptr [WINDOW], 1
    map_window WINDOW_PAGE2 + PTE_P
    equal dword ptr [WINDOW], 2
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
