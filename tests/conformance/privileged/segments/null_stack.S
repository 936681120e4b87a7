# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SS takes no null selector outside 64-bit mode: #GP(0).
#
# Source: Intel SDM vol. 3A §5.4.1 (null segment selector checking).

.include "../check32.inc"

    call catch_faults
    xor ebx, ebx
    attempt
    mov ss, ebx
    caught 13, 0
    exit 0

.include "../catch32.inc"
