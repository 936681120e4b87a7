# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A misaligned operand of 16 bytes is #GP(0), where the instruction asks for alignment.
#
# Source: Intel SDM vol. 2B, MOVAPS; vol. 2A §2.4 (exceptions type 1).

.include "../check64.inc"

    call catch_faults
    movups xmm0, [0x20008]
    attempt
    movaps xmm0, [0x20008]
    caught 13, 0
    attempt
    movaps [0x20008], xmm0
    caught 13, 0
    exit 0

.include "../catch64.inc"
