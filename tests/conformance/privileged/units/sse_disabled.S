# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SSE instructions are #UD while CR4.OSFXSR is clear.
#
# On KVM of host kind 3: it refuses `addps xmm0, xmm1` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §2.5 (CR4.OSFXSR), §13.1.3.

.include "../check64.inc"

    call catch_faults
    clear_bits cr4, CR4_OSFXSR
    attempt
    addps xmm0, xmm1
    caught 6
    attempt
    ldmxcsr [0x20000]
    caught 6
    exit 0

.include "../catch64.inc"
