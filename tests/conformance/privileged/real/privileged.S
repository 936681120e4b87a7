# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# In real mode everything is allowed, as at CPL 0: control registers, MSRs, HLT by its exit.
#
# Source: Intel SDM vol. 3A §20.1.3 (instructions supported in real-address mode).

.include "../check16.inc"

    call catch_faults
    mov eax, cr0
    mov cr0, eax
    clts
    wbinvd
    mov eax, cr3
    mov ecx, 0x1B
    rdmsr
    smsw ax
    test al, 1
    holds z
    exit 0

.include "../catch16.inc"
