# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# MOV to and from control registers has no memory form: the processor takes ModRM.mod for 3.
#
# Source: Intel SDM vol. 2B, MOV to control registers (the 2 bits in the mod field are ignored).

.include "../check64.inc"

    call catch_faults
    mov rbx, 0x123456789
    mov cr2, rbx
    xor eax, eax
    .byte 0x0F, 0x20, 0x10 # MOV RAX, CR2 with mod 0
    equal rax, rbx
    exit 0

.include "../catch64.inc"
