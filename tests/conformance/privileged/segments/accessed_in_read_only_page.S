# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# The accessed bit of a descriptor is written as a supervisor writes: with CR0.WP set, a read-only
# page is #PF with W.
#
# Source: Intel SDM vol. 3A §3.4.5.1, §4.6.1 (implicit supervisor-mode accesses).

.include "../check64.inc"

LDT = EXTRA

    call catch_faults
    call use_own_gdt
    call open_window
    map_window WINDOW_PAGE + PTE_P + PTE_W
    describe LDT, 0x400082000000000F # base WINDOW, two entries
    mov ebx, LDT
    lldt bx
    mov rax, 0x00CF92000000FFFF
    mov [WINDOW + 8], rax
    map_window WINDOW_PAGE + PTE_P
    set_bits cr0, CR0_WP
    mov ebx, 8 + 4
    attempt
    mov fs, ebx
    caught 14, PF_P + PF_W
    exit 0

.include "../catch64.inc"
.include "../gdt64.inc"
.include "../paging64.inc"
