# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# CPL 3 cannot read a page that any level of the tables keeps for supervisors: #PF with P and U.
#
# Source: Intel SDM vol. 3A §4.6.1 (determination of access rights), §4.7 (error code).

.include "../check64.inc"

    call catch_faults
    call open_window
    map_window WINDOW_PAGE + PTE_P + PTE_W
    enter_user user
user:
    attempt
    mov eax, [WINDOW]
    caught 14, PF_P + PF_U
    attempt
    mov [WINDOW], eax
    caught 14, PF_P + PF_U + PF_W
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
