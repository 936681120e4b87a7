# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An entry of a page-directory-pointer table with PS maps 1 GiB, where CPUID reports such pages.
#
# On KVM of host kind 3: check 0 fails: its CPUID has no such pages.
#
# Source: Intel SDM vol. 3A §4.5.4 (entry that maps a 1-GByte page); vol. 2A, CPUID leaf 80000001H.

.include "../check64.inc"

    call catch_faults
    mov eax, 0x80000001
    cpuid
    bt edx, 26
    holds c
    mov dword ptr [0x212340], 0x1234
    mov qword ptr [PDPT_BASE + 8], PTE_P + PTE_W + PDE_PS
    call reload_cr3
    equal dword ptr [WINDOW + 0x212340], 0x1234
    mov qword ptr [PDPT_BASE + 8], 0x200000 + PTE_P + PTE_W + PDE_PS # an address of 2 MiB
    call reload_cr3
    attempt
    mov al, [WINDOW]
    caught 14, PF_P + PF_RSVD
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
