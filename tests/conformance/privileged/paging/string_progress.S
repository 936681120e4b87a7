# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A repeated string instruction that faults on the way has done what lies before: RCX, RSI and RDI
# are at the repetition that faulted.
#
# Source: Intel SDM vol. 2B, REP; vol. 3A §6.5.

.include "../check64.inc"

    call catch_faults
    call open_window
    map_window WINDOW_PAGE + PTE_P + PTE_W
    mov esi, 0x20000
    mov edi, WINDOW + 0xFFC
    mov ecx, 10
    attempt
1:
    rep movsb
    caught 14, PF_W
    equal ecx, 6
    equal esi, 0x20004
    mov ebx, WINDOW + 0x1000
    equal rdi, rbx
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
