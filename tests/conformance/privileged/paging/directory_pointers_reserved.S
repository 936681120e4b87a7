# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A page-directory pointer with reserved bits set makes the load of CR3 #GP(0), if it is present.
#
# On KVM of host kind 3: check 0 fails, after vector 13 with error code 0: paging cannot be switched
# on outside long mode.
#
# Source: Intel SDM vol. 3A §4.4.1 (PDPTE registers), table 4-8.

.include "../check32.inc"

    call catch_faults
    call use_pae
    mov dword ptr [DIRECTORY + 16], PTE_W # not present: nothing is reserved
    call reload_cr3
    mov dword ptr [DIRECTORY + 16], PTE_W + PTE_P
    mov eax, cr3
    attempt
    mov cr3, eax
    caught 13, 0
    mov al, [WINDOW] # the old ones are still there
    exit 0

.include "../catch32.inc"
.include "../paging32.inc"
