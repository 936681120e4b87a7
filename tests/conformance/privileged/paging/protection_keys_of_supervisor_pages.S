# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Protection keys of supervisor pages: IA32_PKRS forbids data accesses, or with CR0.WP writes alone, to
# supervisor pages of a key, and counts for no user page.
#
# Source: Intel SDM vol. 3A §4.6.2 (protection keys), §4.7 (PK flag); vol. 4, IA32_PKRS.

.include "../check64.inc"

MSR_PKRS = 0x6E1
KEY3 = 3 << 59
AD3 = 1 << 6
WD3 = 2 << 6

    call catch_faults
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ecx, 31
    jnc absent
    set_bits cr4, CR4_PKS
    attempt
    write_msr MSR_PKRS, 1 << 32
    caught 13, 0
    call open_window
    map_window WINDOW_PAGE + PTE_P + PTE_W + KEY3
    mov al, [WINDOW]
    write_msr MSR_PKRS, AD3
    read_msr MSR_PKRS
    equal eax, AD3
    attempt
    mov al, [WINDOW]
    caught 14, PF_P + PF_PK
    attempt
    mov [WINDOW], al
    caught 14, PF_P + PF_W + PF_PK
    map_window WINDOW_PAGE + PTE_P + PTE_W + PTE_U + KEY3
    mov [WINDOW], al
    map_window WINDOW_PAGE + PTE_P + PTE_W + KEY3
    write_msr MSR_PKRS, WD3
    mov al, [WINDOW]
    mov [WINDOW], al # CR0.WP is clear
    set_bits cr0, CR0_WP
    attempt
    mov [WINDOW], al
    caught 14, PF_P + PF_W + PF_PK
    write_msr MSR_PKRS, 0
    mov [WINDOW], al
    exit 0
absent:
    attempt
    set_bits cr4, CR4_PKS
    caught 13, 0
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
