# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A right has to be given at every level: a directory entry without W makes the page read-only.
#
# Source: Intel SDM vol. 3A §4.6.1 (determination of access rights).

.include "../check64.inc"

    call catch_faults
    call open_window
    map_window WINDOW_PAGE + PTE_P + PTE_W
    and byte ptr [PD_BASE + 0x1000], ~PTE_W
    call reload_cr3
    set_bits cr0, CR0_WP
    mov eax, [WINDOW]
    attempt
    mov [WINDOW], eax
    caught 14, PF_P + PF_W
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
