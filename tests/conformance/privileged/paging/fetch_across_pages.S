# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An instruction that lies across two pages, the second of which is not there, faults with CR2 at
# that page and RIP at the instruction.
#
# Source: Intel SDM vol. 3A §4.7 (page-fault exceptions), §6.15 (interrupt 14).

.include "../check64.inc"

    call catch_faults
    call open_window
    map_window WINDOW_PAGE + PTE_P + PTE_W
    mov word ptr [WINDOW + 0xFFE], 0x05C7 # MOV to memory, eight bytes more
    mov ebx, WINDOW + 0xFFE
    attempt
    jmp rbx
    caught 14, 0
    equal [rip + caught_rip], rbx
    mov ebx, WINDOW + 0x1000
    equal [rip + caught_cr2], rbx
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
