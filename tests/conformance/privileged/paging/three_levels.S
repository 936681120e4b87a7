# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# PAE paging: four page-directory pointers, directories and tables of 512 entries, pages of 2 MiB.
#
# On KVM of host kind 3: check 0 fails, after vector 13 with error code 0: paging cannot be switched
# on outside long mode.
#
# Source: Intel SDM vol. 3A §4.4.2 (linear-address translation with PAE paging).

.include "../check32.inc"

    call catch_faults
    call use_pae
    mov dword ptr [WINDOW + 0x10], 0x1234
    equal dword ptr [WINDOW_PAGE + 0x10], 0x1234
    attempt
    mov al, [WINDOW + 0x200000]
    caught 14, 0
    attempt
    mov al, [WINDOW + 0x40000000] # the third pointer is not present
    caught 14, 0
    exit 0

.include "../catch32.inc"
.include "../paging32.inc"
