# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# CPL 3 cannot write to a read-only page, whatever CR0.WP says: #PF with P, W and U.
#
# Source: Intel SDM vol. 3A §4.6.1 (determination of access rights), §4.7 (error code).

.include "../check64.inc"

    call catch_faults
    call open_window
    map_window WINDOW_PAGE + PTE_P + PTE_U
    enter_user user
user:
    mov eax, [WINDOW]
    attempt
    mov [WINDOW], eax
    caught 14, PF_P + PF_U + PF_W
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
