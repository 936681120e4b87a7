# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# In virtual-8086 mode the I/O permission bitmap counts whatever IOPL is.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §20.2.8.2 (virtual-8086-mode I/O); vol. 1 §19.5.2.

.include "../check32.inc"

    call catch_faults
    attempt
    enter_vm86 1f, 0x3002
.code16
1:
    in al, 0x80
.code32
    caught 13, 0
    exit 0

.include "../catch32.inc"
