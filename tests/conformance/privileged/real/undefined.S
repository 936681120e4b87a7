# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Instructions about descriptors are #UD in real mode.
#
# On KVM of host kind 3: it refuses `lar ax, ax` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §20.1.3 (instructions supported in real-address mode).

.include "../check16.inc"

    call catch_faults
    attempt
    .byte 0x0F, 0x00, 0xD0 # LLDT AX
    caught 6
    attempt
    .byte 0x0F, 0x00, 0xC8 # STR AX
    caught 6
    attempt
    .byte 0x0F, 0x02, 0xC0 # LAR AX, AX
    caught 6
    exit 0

.include "../catch16.inc"
