# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A far jump to a null selector is #GP(0).
#
# Source: Intel SDM vol. 3A §5.4.1 (null segment selector checking).

.include "../check32.inc"

    call catch_faults
    attempt
    ljmp 0:0x10000
    caught 13, 0
    attempt
    ljmp 3:0x10000
    caught 13, 0
    exit 0

.include "../catch32.inc"
