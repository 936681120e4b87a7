# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A near branch with 16-bit operands clears the upper half of EIP.
#
# Source: Intel SDM vol. 2A, JMP (operation, OperandSize = 16).

.include "../check32.inc"

LOW_CODE = EXTRA

    call catch_faults
    describe LOW_CODE, 0x0000FFFF, 0x00CF9A01 # base 0x10000, where this guest is
    ljmp LOW_CODE:(1f - 0x10000)
1:
    mov ebx, 0x12340000 + 2f - 0x10000
    .byte 0x66
    jmp ebx
    jmp failed
2:
    ljmp CODE32_SELECTOR:3f
3:
    exit 0

.include "../catch32.inc"
