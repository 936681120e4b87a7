# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# POP to SS, PUSH of ES and other one-byte instructions that 64-bit code does not have are #UD.
#
# On KVM of host kind 3: it refuses `(bad)` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A appendix A.2 (one-byte opcode map, i64).

.include "../check64.inc"

    call catch_faults
.irp opcode, 0x06, 0x07, 0x0E, 0x16, 0x17, 0x1E, 0x1F, 0x27, 0x2F, 0x37, 0x3F, 0x60, 0x61, 0x82, 0xD4, 0xD5, 0xEA, 0x9A
    attempt
    .byte \opcode, 0, 0, 0, 0, 0, 0
    caught 6
.endr
    exit 0

.include "../catch64.inc"
