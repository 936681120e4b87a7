# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With CR4.PCIDE set a write to CR3 with bit 63 clear ends the translations of the new PCID; with
# bit 63 set it need not.
#
# Source: Intel SDM vol. 3A §4.10.1 (PCIDs), §4.10.4.1 (MOV to CR3).

.include "../check64.inc"

    call catch_faults
    needs 1, ecx, 17
    mov dword ptr [WINDOW_PAGE], 1
    mov dword ptr [WINDOW_PAGE2], 2
    call open_window
    set_bits cr4, CR4_PCIDE
    mov rbx, PML4_BASE + 5
    mov cr3, rbx
    map_window WINDOW_PAGE + PTE_P
    equal dword ptr [WINDOW], 1
    mov rcx, PML4_BASE
    mov cr3, rcx
    mov qword ptr [WINDOW_PT], WINDOW_PAGE2 + PTE_P
    mov cr3, rbx
    equal dword ptr [WINDOW], 2
    bts rbx, 63
    mov cr3, rbx
    mov rax, cr3
    mov ecx, PML4_BASE + 5
    equal rax, rcx
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
