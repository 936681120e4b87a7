# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# CR2 holds all 64 bits that are written to it.
#
# Source: Intel SDM vol. 2B, MOV to and from control registers; vol. 3A §2.5.

.include "../check64.inc"

    call catch_faults
    mov rbx, 0x123456789ABCDEF0
    mov cr2, rbx
    mov rax, cr2
    equal rax, rbx
    exit 0

.include "../catch64.inc"
