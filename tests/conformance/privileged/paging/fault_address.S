# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# CR2 holds the linear address that faulted: of an access that crosses into the next page, the first
# byte that could not be reached.
#
# Source: Intel SDM vol. 3A §4.7 (page-fault exceptions).

.include "../check64.inc"

    call catch_faults
    call open_window
    map_window WINDOW_PAGE + PTE_P + PTE_W
    attempt
    mov rax, [WINDOW + 0xFFC]
    caught 14, 0
    mov rbx, WINDOW + 0x1000
    equal [rip + caught_cr2], rbx
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
