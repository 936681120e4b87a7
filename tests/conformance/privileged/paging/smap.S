# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With CR4.SMAP set CPL 0 neither reads nor writes a page that CPL 3 may use, unless RFLAGS.AC is
# set: STAC sets it, CLAC clears it.
#
# On KVM of host kind 3: it refuses `stac` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §4.6.1 (determination of access rights); vol. 2, CLAC, STAC.

.include "../check64.inc"

    call catch_faults
    call open_window
    call keep_users_out
    map_window WINDOW_PAGE + PTE_P + PTE_W + PTE_U
    set_bits cr4, CR4_SMAP
    attempt
    mov eax, [WINDOW]
    caught 14, PF_P
    attempt
    mov [WINDOW], eax
    caught 14, PF_P + PF_W
    stac
    mov [WINDOW], eax
    clac
    attempt
    mov eax, [WINDOW]
    caught 14, PF_P
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
