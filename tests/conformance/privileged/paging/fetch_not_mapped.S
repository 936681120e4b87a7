# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Without NX and SMEP the error code of a fetch says nothing of fetching; with EFER.NXE set it does.
#
# Source: Intel SDM vol. 3A §4.7 (error code, I/D flag).

.include "../check64.inc"

    call catch_faults
    call open_window
    map_window 0
    mov ebx, WINDOW
    attempt
    jmp rbx
    caught 14, 0
    equal [rip + caught_rip], rbx
    write_msr MSR_EFER, 0xD00 # LME, LMA, NXE
    attempt
    jmp rbx
    caught 14, PF_I
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
