# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An entry of a page directory with PS maps 2 MiB; INVLPG of any address in it is enough.
#
# Source: Intel SDM vol. 3A §4.5.4 (4-level paging), §4.10.4.1 (INVLPG).

.include "../check64.inc"

    call catch_faults
    mov dword ptr [0x212340], 0x1234
    mov dword ptr [0x412340], 0x5678
    mov qword ptr [PD_BASE + 0x1000], 0x200000 + PTE_P + PTE_W + PDE_PS
    call reload_cr3
    equal dword ptr [WINDOW + 0x12340], 0x1234
    mov qword ptr [PD_BASE + 0x1000], 0x400000 + PTE_P + PTE_W + PDE_PS
    invlpg [WINDOW + 0x1FFFFF]
    equal dword ptr [WINDOW + 0x12340], 0x5678
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
