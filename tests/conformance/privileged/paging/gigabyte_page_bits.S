# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Of a page of 1 GiB: accessed and dirty bits, rights, INVLPG of any address in it, address bits 13 to 29
# that are reserved.
#
# On KVM of host kind 3: check 0 fails: its CPUID has no such pages.
#
# Source: Intel SDM vol. 3A §4.5.4 (entry that maps a 1-GByte page), §4.8, §4.10.4.1 (INVLPG).

.include "../check64.inc"

ENTRY = PDPT_BASE + 8

    call catch_faults
    mov eax, 0x80000001
    cpuid
    bt edx, 26
    holds c
    mov dword ptr [0x212340], 0x1234
    mov dword ptr [0x612340], 0x5678
    mov qword ptr [ENTRY], PTE_P + PTE_W + PDE_PS
    call reload_cr3
    equal dword ptr [WINDOW + 0x212340], 0x1234
    mov rax, [ENTRY]
    and eax, PTE_A + PTE_D
    equal eax, PTE_A
    mov dword ptr [WINDOW + 0x212344], 1
    mov rax, [ENTRY]
    and eax, PTE_A + PTE_D
    equal eax, PTE_A + PTE_D
    equal dword ptr [WINDOW + 0x612340], 0x5678

    set_bits cr0, CR0_WP
    mov qword ptr [ENTRY], PTE_P + PDE_PS
    invlpg [WINDOW + 0x3FFFF000] # another address of the page
    attempt
    mov dword ptr [WINDOW + 0x212344], 2
    caught 14, PF_P + PF_W
    equal dword ptr [WINDOW + 0x612340], 0x5678
    mov qword ptr [ENTRY], 0
    invlpg [WINDOW]
    attempt
    mov al, [WINDOW + 0x612340]
    caught 14, 0

    mov ecx, 13
reserved:
    mov rax, 1
    shl rax, cl
    or rax, PTE_P + PTE_W + PDE_PS
    mov [ENTRY], rax
    invlpg [WINDOW]
    attempt
    mov al, [WINDOW]
    caught 14, PF_P + PF_RSVD
    inc ecx
    cmp ecx, 30
    jne reserved
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
