# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IRET to virtual-8086 mode checks EIP against the limit of the new CS: #GP(0).
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, IRET (return to virtual-8086 mode).

.include "../check32.inc"

    call catch_faults
    attempt
    push VM86_GS
    push VM86_FS
    push VM86_DS
    push VM86_ES
    push VM86_SS
    push 0x1000
    push FLAG_VM + 2
    push 0x1000
    push 1f
    iretd
.code16
1:
    int3
.code32
    caught 13, 0
    exit 0

.include "../catch32.inc"
