# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SMAP keeps nobody from executing code: that is for SMEP.
#
# Source: Intel SDM vol. 3A §4.6.1 (determination of access rights, instruction fetches).

.include "../check64.inc"

    call catch_faults
    call open_window
    call keep_users_out
    map_window WINDOW_PAGE + PTE_P + PTE_W + PTE_U
    mov byte ptr [WINDOW], 0xC3 # RET
    set_bits cr4, CR4_SMAP
    mov ebx, WINDOW
    call rbx
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
