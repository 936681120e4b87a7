# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With EFER.NXE clear bit 63 of an entry is reserved.
#
# Source: Intel SDM vol. 3A §4.5.4 (table of entry formats), §4.7 (RSVD flag).

.include "../check64.inc"

    call catch_faults
    call open_window
    map_window WINDOW_PAGE + PTE_P + PTE_W + PTE_NX
    attempt
    mov al, [WINDOW]
    caught 14, PF_P + PF_RSVD
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
