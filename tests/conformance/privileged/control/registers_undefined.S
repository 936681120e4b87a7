# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# CR5, CR6, CR7 and CR9 to CR15 are #UD, and so is MOV to CS.
#
# Source: Intel SDM vol. 2B, MOV to control registers; MOV.

.include "../check64.inc"

    call catch_faults
.irp code, 0xE8, 0xF0, 0xF8
    attempt
    .byte 0x0F, 0x20, \code # MOV RAX, CR5 to CR7
    caught 6
.endr
.irp code, 0xC8, 0xD0, 0xF8
    attempt
    .byte 0x44, 0x0F, 0x22, \code # MOV CR9, CR10, CR15
    caught 6
.endr
    attempt
    .byte 0x8E, 0xC8 # MOV CS, EAX
    caught 6
    exit 0

.include "../catch64.inc"
