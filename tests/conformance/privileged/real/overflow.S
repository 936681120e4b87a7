# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INTO, BOUND and INT3 go through the vector table.
#
# On KVM of host kind 3: it refuses `bound ax, dword ptr [0x7c67]` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §20.1.4, table 20-1; vol. 2A, BOUND, INT n.

.include "../check16.inc"

    call catch_faults
    attempt
    int3
    caught 3
    mov ax, 9
    attempt
    bound ax, [bounds]
    caught 5
    mov al, 0x7F
    attempt
    add al, 1
    into
    caught 4
    exit 0

bounds:
    .word 1, 8

.include "../catch16.inc"
