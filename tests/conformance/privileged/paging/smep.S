# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With CR4.SMEP set CPL 0 fetches nothing from a page that CPL 3 may use.
#
# Source: Intel SDM vol. 3A §4.6.1 (determination of access rights), §4.7 (error code).

.include "../check64.inc"

    call catch_faults
    call open_window
    call keep_users_out
    map_window WINDOW_PAGE + PTE_P + PTE_W + PTE_U
    mov byte ptr [WINDOW], 0xC3 # RET
    mov ebx, WINDOW
    call rbx
    set_bits cr4, CR4_SMEP
    attempt
    call rbx
    caught 14, PF_P + PF_I
    equal [rip + caught_rip], rbx
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
