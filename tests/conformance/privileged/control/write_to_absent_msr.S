# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Writing an MSR that is none, or one that is read-only, is #GP(0).
#
# Source: Intel SDM vol. 2B, WRMSR (exceptions).

.include "../check64.inc"

    call catch_faults
    xor eax, eax
    xor edx, edx
    mov ecx, 0x12345
    attempt
    wrmsr
    caught 13, 0
    exit 0

.include "../catch64.inc"
