# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# CR0.ET is always set; bits of the lower half that are reserved are ignored.
#
# Source: Intel SDM vol. 3A §2.5 (CR0.ET); vol. 2B, MOV to control registers.

.include "../check64.inc"

    call catch_faults
    mov rax, cr0
    and eax, ~0x10
    or eax, 0x40
    mov cr0, rax
    mov rbx, cr0
    and ebx, 0x50
    equal ebx, 0x10
    exit 0

.include "../catch64.inc"
