# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A data breakpoint is a trap: an instruction that meets one and then faults has not trapped.
#
# Source: Intel SDM vol. 3A table 6-2 (priorities); vol. 3B §17.2.4, §17.3.1.2.

.include "../check64.inc"

    call catch_faults
    call open_window
    map_window 0
    mov eax, 0x20000
    mov dr0, rax
    mov eax, 0x30001 # L0, loads and stores
    mov dr7, rax
    mov esi, 0x20000
    mov edi, WINDOW
    attempt
    movsb
    caught 14, PF_W
    mov eax, WINDOW
    mov dr0, rax
    attempt
    mov byte ptr [WINDOW], 1
    caught 14, PF_W
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
