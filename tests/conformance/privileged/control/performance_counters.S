# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# RDPMC is #GP(0) at CPL 3 while CR4.PCE is clear, and everywhere for a counter that there is not.
#
# Source: Intel SDM vol. 2B, RDPMC.

.include "../check64.inc"

    call catch_faults
    mov ecx, 0x12345
    attempt
    rdpmc
    caught 13, 0
    enter_user user
user:
    xor ecx, ecx
    attempt
    rdpmc
    caught 13, 0
    exit 0

.include "../catch64.inc"
