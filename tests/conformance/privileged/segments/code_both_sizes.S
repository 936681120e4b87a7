# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A code segment with L and D set is none: #GP with the selector.
#
# Source: Intel SDM vol. 3A §5.2.1 (code-segment descriptor in 64-bit mode); vol. 2A, JMP.

.include "../check64.inc"

BOTH = EXTRA

    call catch_faults
    call use_own_gdt
    describe BOTH, 0x00EF9A000000FFFF
    attempt
    jmp far ptr [rip + pointer]
    caught 13, BOTH
    exit 0

pointer:
    .long 0x10000
    .word BOTH

.include "../catch64.inc"
.include "../gdt64.inc"
