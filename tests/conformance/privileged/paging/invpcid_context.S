# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INVPCID of type 1 ends all translations of one PCID that are not global.
#
# Source: Intel SDM vol. 2A, INVPCID.

.include "../check64.inc"

    call catch_faults
    needs 7, ebx, 10
    needs 1, ecx, 17
    mov dword ptr [WINDOW_PAGE], 1
    mov dword ptr [WINDOW_PAGE2], 2
    call open_window
    set_bits cr4, CR4_PCIDE
    mov rbx, PML4_BASE + 7
    mov cr3, rbx
    map_window WINDOW_PAGE + PTE_P
    equal dword ptr [WINDOW], 1
    mov qword ptr [WINDOW_PT], WINDOW_PAGE2 + PTE_P
    mov ebx, 1
    invpcid rbx, [rip + which]
    equal dword ptr [WINDOW], 2
    exit 0

which:
    .quad 7, 0

.include "../catch64.inc"
.include "../paging64.inc"
