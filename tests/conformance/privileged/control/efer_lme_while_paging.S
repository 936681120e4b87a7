# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "13 0\n"
# outcome = "exit"
# exit_code = 0
# ///

# EFER.LME cannot change while paging is on: #GP(0).
#
# Source: Intel SDM vol. 3A §9.8.5 (initializing IA-32e mode).

.include "../../../../guests/macros.inc"

    call catch_faults
    mov ecx, 0xC0000080
    rdmsr
    btr rax, 8
    wrmsr
    exit 1

.include "../fault64.inc"
