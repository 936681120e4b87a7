# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Forms that instructions do not have are #UD: UD0, UD1, LEA and CMPXCHG8B of a register.
#
# On KVM of host kind 3: it refuses `ud0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2D, UD; vol. 2A, CMPXCHG8B, LEA; appendix A.

.include "../check64.inc"

    call catch_faults
    attempt
    .byte 0x0F, 0xFF, 0xC0 # UD0
    caught 6
    attempt
    .byte 0x0F, 0xB9, 0xC0 # UD1
    caught 6
    attempt
    .byte 0x0F, 0xC7, 0xC8 # CMPXCHG8B EAX
    caught 6
    attempt
    .byte 0x8D, 0xC0 # LEA EAX, EAX
    caught 6
    attempt
    .byte 0xFE, 0xF8 # group 4, 7
    caught 6
    exit 0

.include "../catch64.inc"
