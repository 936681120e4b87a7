# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With CR0.TS set x87, MMX and SSE instructions are #NM; CLTS ends that.
#
# On KVM of host kind 3: it refuses `fldz` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §2.5 (CR0.TS), §6.15 (interrupt 7).

.include "../check64.inc"

    call catch_faults
    set_bits cr0, CR0_TS
    attempt
    fldz
    caught 7
    attempt
    movd mm0, eax
    caught 7
    attempt
    addps xmm0, xmm1
    caught 7
    attempt
    fxsave [0x20000]
    caught 7
    clts
    fldz
    exit 0

.include "../catch64.inc"
