# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Reserved bits of MXCSR are #GP(0) in LDMXCSR and FXRSTOR.
#
# On KVM of host kind 3: it refuses `ldmxcsr dword ptr [0x20000]` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, LDMXCSR, FXRSTOR.

.include "../check64.inc"

    call catch_faults
    mov dword ptr [0x20000], 0x10000
    attempt
    ldmxcsr [0x20000]
    caught 13, 0
    fxsave [0x20000]
    mov dword ptr [0x20000 + 24], 0x10000
    attempt
    fxrstor [0x20000]
    caught 13, 0
    exit 0

.include "../catch64.inc"
