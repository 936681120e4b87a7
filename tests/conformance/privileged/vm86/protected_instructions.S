# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Instructions about descriptors are #UD in virtual-8086 mode, as in real mode; LMSW is #GP.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, LAR; vol. 2B, VERR, STR; vol. 3A §20.2.7.

.include "../check32.inc"

    call catch_faults
    attempt
    enter_vm86 1f, 2
.code16
1:
    .byte 0x0F, 0x02, 0xC0 # LAR AX, AX
.code32
    caught 6
    attempt
    enter_vm86 1f, 2
.code16
1:
    .byte 0x0F, 0x00, 0xE0 # VERR AX
.code32
    caught 6
    attempt
    enter_vm86 1f, 2
.code16
1:
    .byte 0x0F, 0x01, 0xF0 # LMSW AX
.code32
    caught 13, 0
    exit 0

.include "../catch32.inc"
