# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INVLPG of an address that is not canonical does nothing; no exception.
#
# Source: Intel SDM vol. 2A, INVLPG.

.include "../check64.inc"

    call catch_faults
    mov rbx, 0x800000000000
    invlpg [rbx]
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
