# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A SIMD exception that is not masked is #XM.
#
# On KVM of host kind 3: it refuses `ldmxcsr dword ptr [0x20000]` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 19).

.include "../check64.inc"

    call catch_faults
    mov dword ptr [0x20000], 0x1D80 # division by zero is not masked
    ldmxcsr [0x20000]
    mov eax, 1
    cvtsi2ss xmm0, eax
    xorps xmm1, xmm1
    attempt
1:
    divss xmm0, xmm1
    caught 19
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    exit 0

.include "../catch64.inc"
