# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SMAP counts for accesses that the processor makes itself whatever RFLAGS.AC says: here the LDT
# lies in a page that CPL 3 may use.
#
# On KVM of host kind 3: it refuses `stac` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §4.6.1 (implicit supervisor-mode accesses).

.include "../check64.inc"

LDT = EXTRA

    call catch_faults
    call use_own_gdt
    call open_window
    call keep_users_out
    map_window WINDOW_PAGE + PTE_P + PTE_W + PTE_U
    describe LDT, 0x400082000000000F # base WINDOW, two entries
    mov ebx, LDT
    lldt bx
    mov rax, [GDT_BASE + DATA_SELECTOR]
    mov [WINDOW + 8], rax
    mov ebx, 8 + 4 # the second entry of the LDT
    mov fs, ebx
    set_bits cr4, CR4_SMAP
    stac
    mov al, [WINDOW]
    attempt
    mov fs, ebx
    caught 14, PF_P
    mov ebx, WINDOW + 8
    equal [rip + caught_cr2], rbx
    exit 0

.include "../catch64.inc"
.include "../gdt64.inc"
.include "../paging64.inc"
