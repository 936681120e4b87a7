# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# AVX instructions are #UD while CR4.OSXSAVE is clear, and while XCR0 does not enable AVX.
#
# On KVM of host kind 3: it refuses `vaddps xmm0, xmm1, xmm2` (internal error, suberror 1).
#
# Source: Intel SDM vol. 1 §14.3 (detection of AVX); vol. 3A §13.1.

.include "../check64.inc"

    call catch_faults
    attempt
    vaddps xmm0, xmm1, xmm2
    caught 6
    set_bits cr4, CR4_OSXSAVE
    mov eax, 3
    xor edx, edx
    xor ecx, ecx
    xsetbv
    attempt
    vaddps xmm0, xmm1, xmm2
    caught 6
    mov eax, 7
    xsetbv
    vaddps xmm0, xmm1, xmm2
    exit 0

.include "../catch64.inc"
