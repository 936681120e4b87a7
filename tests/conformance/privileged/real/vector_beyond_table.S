# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A vector that does not lie within IDTR's limit is #GP, interrupt 13.
#
# On KVM of host kind 3: it prints "4" and ends with status 1: it does not look at the limit.
#
# Source: Intel SDM vol. 3A §20.1.4 (interrupt and exception handling); vol. 2A, INT n.

.include "../check16.inc"

    call catch_faults
    lidt [short_table]
    attempt
    int 0x30
    caught 13
    exit 0

short_table:
    .word 0x30 * 4 - 1
    .long 0

.include "../catch16.inc"
