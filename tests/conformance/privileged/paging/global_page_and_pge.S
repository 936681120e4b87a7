# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A change of CR4.PGE ends all translations, those of global pages too.
#
# Source: Intel SDM vol. 3A §4.10.4.1 (operations that invalidate TLBs).

.include "../check64.inc"

    call catch_faults
    mov dword ptr [WINDOW_PAGE], 1
    mov dword ptr [WINDOW_PAGE2], 2
    call open_window
    set_bits cr4, CR4_PGE
    map_window WINDOW_PAGE + PTE_P + PTE_G
    equal dword ptr [WINDOW], 1
    mov qword ptr [WINDOW_PT], WINDOW_PAGE2 + PTE_P + PTE_G
    clear_bits cr4, CR4_PGE
    equal dword ptr [WINDOW], 2
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
