# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# LMSW sets PE, MP, EM and TS and clears the last three; PE it cannot clear.
#
# Source: Intel SDM vol. 2A, LMSW.

.include "../check64.inc"

    call catch_faults
    mov eax, 0xF
    lmsw ax
    mov rbx, cr0
    and ebx, 0xF
    equal ebx, 0xF
    xor eax, eax
    lmsw ax
    mov rbx, cr0
    and ebx, 0xF
    equal ebx, 1
    exit 0

.include "../catch64.inc"
