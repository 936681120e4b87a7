# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# VERR and VERW set ZF where a segment could be read, or written, through that selector.
#
# On KVM of host kind 3: it refuses `verr bx` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2B, VERR/VERW; vol. 3A §5.10.2 (checking read/write rights).

.include "../check32.inc"

READ_ONLY = EXTRA
EXECUTE_ONLY = EXTRA + 8
CONFORMING = EXTRA + 16

    call catch_faults
    describe READ_ONLY, 0x0000FFFF, 0x00CF9000
    describe EXECUTE_ONLY, 0x0000FFFF, 0x00CF9800
    describe CONFORMING, 0x0000FFFF, 0x00CF9E00
.irp selector, DATA_SELECTOR, READ_ONLY, CODE32_SELECTOR, USER_DATA_SELECTOR + 3, CONFORMING + 3
    mov ebx, \selector
    verr bx
    holds z
.endr
.irp selector, 0, 0x100, EXECUTE_ONLY, TASK, DATA_SELECTOR + 3
    mov ebx, \selector
    verr bx
    holds nz
.endr
.irp selector, DATA_SELECTOR, USER_DATA_SELECTOR + 3
    mov ebx, \selector
    verw bx
    holds z
.endr
.irp selector, 0, READ_ONLY, CODE32_SELECTOR, EXECUTE_ONLY, TASK, DATA_SELECTOR + 3
    mov ebx, \selector
    verw bx
    holds nz
.endr
    exit 0

.include "../catch32.inc"
