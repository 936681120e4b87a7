# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# The four page-directory pointers are loaded with CR3; what is written to them later does not count
# until the next load.
#
# On KVM of host kind 3: check 0 fails, after vector 13 with error code 0: paging cannot be switched
# on outside long mode.
#
# Source: Intel SDM vol. 3A §4.4.1 (PDPTE registers).

.include "../check32.inc"

    call catch_faults
    call use_pae
    mov dword ptr [DIRECTORY + 8], 0
    invlpg [WINDOW]
    mov al, [WINDOW]
    call reload_cr3
    attempt
    mov al, [WINDOW]
    caught 14, 0
    exit 0

.include "../catch32.inc"
.include "../paging32.inc"
