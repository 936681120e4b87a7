# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A write to CR3 ends the translations of pages that are not global.
#
# Source: Intel SDM vol. 3A §4.10.4.1 (MOV to CR3).

.include "../check64.inc"

    call catch_faults
    mov dword ptr [WINDOW_PAGE], 1
    mov dword ptr [WINDOW_PAGE2], 2
    call open_window
    map_window WINDOW_PAGE + PTE_P
    equal dword ptr [WINDOW], 1
    mov qword ptr [WINDOW_PT], WINDOW_PAGE2 + PTE_P
    call reload_cr3
    equal dword ptr [WINDOW], 2
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
