# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# In an entry of a 4 MiB page bits 13 to 20 are the page's address bits 32 to 39, and bit 21 is
# reserved.
#
# On KVM of host kind 3: check 0 fails, after vector 13 with error code 0: paging cannot be switched
# on outside long mode.
#
# Source: Intel SDM vol. 3A §4.3, table 4-4 (entry that maps a 4-MByte page).

.include "../check32.inc"

    call catch_faults
    call use_paging
    mov dword ptr [DIRECTORY + (WINDOW >> 22) * 4], (1 << 21) + PTE_P + PTE_W + PDE_PS
    call reload_cr3
    attempt
    mov al, [WINDOW]
    caught 14, PF_P + PF_RSVD
    exit 0

.include "../catch32.inc"
.include "../paging32.inc"
