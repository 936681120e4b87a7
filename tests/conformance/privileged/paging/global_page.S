# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A translation from an entry with G set survives a write to CR3 while CR4.PGE is set; INVLPG ends
# it. (A processor may forget a translation at any time: what is checked is that INVLPG does.)
#
# Source: Intel SDM vol. 3A §4.10.2.4 (global pages), §4.10.4.1 (INVLPG, MOV to CR3).

.include "../check64.inc"

    call catch_faults
    mov dword ptr [WINDOW_PAGE], 1
    mov dword ptr [WINDOW_PAGE2], 2
    call open_window
    set_bits cr4, CR4_PGE
    map_window WINDOW_PAGE + PTE_P + PTE_G
    equal dword ptr [WINDOW], 1
    mov qword ptr [WINDOW_PT], WINDOW_PAGE2 + PTE_P + PTE_G
    call reload_cr3
    mov ebx, [WINDOW] # the old page or the new one
    invlpg [WINDOW]
    equal dword ptr [WINDOW], 2
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
