# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# WBINVD and INVD change nothing that a program sees here.
#
# Source: Intel SDM vol. 2A, INVD; vol. 2D, WBINVD.

.include "../check64.inc"

    call catch_faults
    mov dword ptr [0x20000], 7
    wbinvd
    equal dword ptr [0x20000], 7
    exit 0

.include "../catch64.inc"
