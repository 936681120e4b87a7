# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# While CR4.OSXMMEXCPT is clear a SIMD exception that is not masked is #UD.
#
# On KVM of host kind 3: it refuses `ldmxcsr dword ptr [0x20000]` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §2.5 (CR4.OSXMMEXCPT), §13.1.4.

.include "../check64.inc"

    call catch_faults
    clear_bits cr4, CR4_OSXMMEXCPT
    mov dword ptr [0x20000], 0x1D80 # division by zero is not masked
    ldmxcsr [0x20000]
    mov eax, 1
    cvtsi2ss xmm0, eax
    xorps xmm1, xmm1
    attempt
    divss xmm0, xmm1
    caught 6
    exit 0

.include "../catch64.inc"
