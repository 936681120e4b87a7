# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An instruction that reads and writes is a write to the page: #PF has W set, and CMPXCHG that will
# not store asks for a writable page too.
#
# Source: Intel SDM vol. 3A §4.7 (error code, W/R flag); vol. 2A, CMPXCHG.

.include "../check64.inc"

    call catch_faults
    call open_window
    map_window 0
    attempt
    add dword ptr [WINDOW], 1
    caught 14, PF_W
    set_bits cr0, CR0_WP
    map_window WINDOW_PAGE + PTE_P
    attempt
    inc dword ptr [WINDOW]
    caught 14, PF_P + PF_W
    mov eax, 5 # what is there is 0
    attempt
    cmpxchg [WINDOW], ebx
    caught 14, PF_P + PF_W
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
