# /// pykvm
# mode = "user"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "before, after\n"
# outcome = "exit"
# exit_code = 0
# ///

# Code that rewrites itself. The operand of an instruction that has already run is replaced, and a
# processor that has the old bytes decoded must notice. x86 promises that for a program's own
# stores, without any flush, from the next branch on.
#
# Source: Intel SDM vol. 3A §8.1.3 (self- and cross-modifying code), §11.6.

.include "macros.inc"

    call say
    lea rax, [rip + after_text]
    mov dword ptr [rip + say + 1], eax # the operand follows a one-byte opcode
    call say
    exit 0

say:
    mov esi, before_text
    call print_text
    ret

.include "print64.inc"

before_text:
    .asciz "before, "
after_text:
    .asciz "after\n"
