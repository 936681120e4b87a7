# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# In 64-bit mode LGDT and LIDT load all of the base, whatever the operand size prefix says.
#
# Source: Intel SDM vol. 2A, LGDT/LIDT (in 64-bit mode, operand size is fixed at 8 + 2 bytes).

.include "../check64.inc"

    call catch_faults
    sgdt [rip + was]
    .byte 0x66
    lgdt [rip + high]
    sgdt [rip + now]
    lgdt [rip + was]
    mov rax, [rip + high + 2]
    equal [rip + now + 2], rax
    exit 0

high:
    .word 0x7F
    .quad 0xFFFF800012345678
was:
    .zero 10
now:
    .zero 10

.include "../catch64.inc"
