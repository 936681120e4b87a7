# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# CPL 0 cannot jump to code of CPL 3, conforming or not, nor by a selector with RPL 3.
#
# Source: Intel SDM vol. 3A §5.8.1 (direct calls or jumps to code segments).

.include "../check32.inc"

CONFORMING_USER = EXTRA

    call catch_faults
    describe CONFORMING_USER, 0x0000FFFF, 0x00CFFE00
    attempt
    ljmp USER_CODE32_SELECTOR:1f
1:
    caught 13, USER_CODE32_SELECTOR
    attempt
    ljmp CONFORMING_USER:1f
1:
    caught 13, CONFORMING_USER
    attempt
    ljmp (CODE32_SELECTOR + 3):1f
1:
    caught 13, CODE32_SELECTOR
    exit 0

.include "../catch32.inc"
