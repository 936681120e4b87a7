# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INVPCID of type 2 ends all translations, global ones too.
#
# On KVM of host kind 3: it refuses `invpcid rbx, xmmword ptr [rip + 0x1b]` (internal error,
# suberror 1).
#
# Source: Intel SDM vol. 2A, INVPCID.

.include "../check64.inc"

    call catch_faults
    needs 7, ebx, 10
    mov dword ptr [WINDOW_PAGE], 1
    mov dword ptr [WINDOW_PAGE2], 2
    call open_window
    set_bits cr4, CR4_PGE
    map_window WINDOW_PAGE + PTE_P + PTE_G
    equal dword ptr [WINDOW], 1
    mov qword ptr [WINDOW_PT], WINDOW_PAGE2 + PTE_P + PTE_G
    mov ebx, 2
    invpcid rbx, [rip + which]
    equal dword ptr [WINDOW], 2
    exit 0

which:
    .quad 0, 0

.include "../catch64.inc"
.include "../paging64.inc"
