# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INT1 counts as an external event: EXT is set in error codes on the way to its handler.
#
# On KVM of host kind 3: it refuses `int1` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, INT n/INTO/INT3/INT1; vol. 3A §6.13 (error code).

.include "../check64.inc"

    call catch_faults
    mov dword ptr [rip + idt + 1 * 16 + 4], 0
    attempt
    .byte 0xF1
    caught 13, 1 * 8 + 2 + 1
    exit 0

.include "../catch64.inc"
