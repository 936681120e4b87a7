# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Nothing is fetched from a page with NX set; it can be read.
#
# Source: Intel SDM vol. 3A §4.6.1 (determination of access rights), §4.7 (error code).

.include "../check64.inc"

    call catch_faults
    call open_window
    write_msr MSR_EFER, 0xD00 # LME, LMA, NXE
    map_window WINDOW_PAGE + PTE_P + PTE_W
    mov byte ptr [WINDOW], 0xC3 # RET
    mov ebx, WINDOW
    call rbx
    map_window WINDOW_PAGE + PTE_P + PTE_W + PTE_NX
    mov al, [WINDOW]
    attempt
    call rbx
    caught 14, PF_P + PF_I
    equal [rip + caught_rip], rbx
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
