# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# In compatibility mode INVPCID's type is a 32-bit register.
#
# On KVM of host kind 3: it refuses `invpcid eax, xmmword ptr [0x10030]` (internal error,
# suberror 1).
#
# Source: Intel SDM vol. 2A, INVPCID (64-bit operand only in 64-bit mode).

.include "../check64.inc"

    call catch_faults
    needs 7, ebx, 10
    mov rax, 0x100000002
    lcall [rip + target]
    exit 0
compat:
.code32
    .byte 0x66, 0x0F, 0x38, 0x82, 0x05 # invpcid eax, [abs]
    .long desc
    lret
.code64
target:
    .long compat
    .word CODE32_SELECTOR
    .balign 16
desc:
    .quad 0, 0

.include "../catch64.inc"
