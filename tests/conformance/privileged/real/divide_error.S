# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# #DE is a fault: IP in its frame is that of the instruction.
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 0), §20.1.4.

.include "../check16.inc"

    call catch_faults
    xor cx, cx
    attempt
1:
    div cx
    caught 0
    equal word ptr [caught_ip], 1b
    exit 0

.include "../catch16.inc"
