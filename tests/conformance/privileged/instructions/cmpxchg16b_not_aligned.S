# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# CMPXCHG16B of an address that is no multiple of 16 is #GP(0).
#
# Source: Intel SDM vol. 2A, CMPXCHG8B/CMPXCHG16B.

.include "../check64.inc"

    call catch_faults
    mov ebx, 0x20008
    attempt
    cmpxchg16b [rbx]
    caught 13, 0
    exit 0

.include "../catch64.inc"
