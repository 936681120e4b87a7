# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Control registers are CPL 0's: #GP(0).
#
# Source: Intel SDM vol. 2B, MOV to and from control registers; vol. 3A §5.9.

.include "../check64.inc"

    call catch_faults
    enter_user user
user:
.irp register, cr0, cr2, cr3, cr4, cr8
    attempt
    mov rax, \register
    caught 13, 0
    attempt
    mov \register, rax
    caught 13, 0
.endr
    exit 0

.include "../catch64.inc"
