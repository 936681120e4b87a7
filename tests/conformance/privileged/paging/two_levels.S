# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# 32-bit paging: a directory of 1,024 entries, tables of as many, and with CR4.PSE pages of 4 MiB.
#
# On KVM of host kind 3: check 0 fails, after vector 13 with error code 0: paging cannot be switched
# on outside long mode.
#
# Source: Intel SDM vol. 3A §4.3 (32-bit paging).

.include "../check32.inc"

    call catch_faults
    call use_paging
    mov dword ptr [WINDOW + 0x10], 0x1234
    equal dword ptr [WINDOW_PAGE + 0x10], 0x1234
    mov al, [WINDOW_PT]
    and al, PTE_A + PTE_D
    equal al, PTE_A + PTE_D
    mov al, [DIRECTORY]
    and al, PTE_A + PTE_D
    equal al, PTE_A + PTE_D
    attempt
    mov al, [WINDOW + 0x1000]
    caught 14, 0
    equal dword ptr [caught_cr2], WINDOW + 0x1000
    exit 0

.include "../catch32.inc"
.include "../paging32.inc"
