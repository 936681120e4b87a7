# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With CR0.EM set x87 instructions are #NM, MMX and SSE #UD.
#
# On KVM of host kind 3: it refuses `fldz` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §2.5 (CR0.EM), §9.2.2, §12.1 (MMX), §13.1.

.include "../check64.inc"

    call catch_faults
    set_bits cr0, CR0_EM
    attempt
    fldz
    caught 7
    attempt
    movd mm0, eax
    caught 6
    attempt
    addps xmm0, xmm1
    caught 6
    exit 0

.include "../catch64.inc"
