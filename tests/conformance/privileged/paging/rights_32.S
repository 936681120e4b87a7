# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Rights of 32-bit paging: CR0.WP for CPL 0, W and U for CPL 3.
#
# On KVM of host kind 3: check 0 fails, after vector 13 with error code 0: paging cannot be switched
# on outside long mode.
#
# Source: Intel SDM vol. 3A §4.6.1 (determination of access rights), §4.7 (error code).

.include "../check32.inc"

    call catch_faults
    call use_paging
    mov dword ptr [WINDOW_PT], WINDOW_PAGE + PTE_P + PTE_U
    invlpg [WINDOW]
    mov [WINDOW], eax
    mov eax, cr0
    or eax, CR0_WP
    mov cr0, eax
    attempt
    mov [WINDOW], eax
    caught 14, PF_P + PF_W
    enter_user32 user
user:
    mov eax, [WINDOW]
    attempt
    mov [WINDOW], eax
    caught 14, PF_P + PF_W + PF_U
    leave_user
    mov dword ptr [WINDOW_PT], WINDOW_PAGE + PTE_P + PTE_W
    invlpg [WINDOW]
    enter_user32 again
again:
    attempt
    mov eax, [WINDOW]
    caught 14, PF_P + PF_U
    leave_user
    exit 0

.include "../catch32.inc"
.include "../paging32.inc"
