# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "the time-stamp counter went up\n"
# outcome = "exit"
# exit_code = 0
# ///

# The time-stamp counter only goes up: RDTSC twice, with work between, gives a greater number.
#
# Source: Intel SDM vol. 2B, RDTSC; vol. 3B §17.17 (time-stamp counter).

.include "macros.inc"

    rdtsc
    shl rdx, 32
    lea rbx, [rdx + rax]

    mov ecx, 100
work:
    dec ecx
    jnz work

    rdtsc
    shl rdx, 32
    add rax, rdx
    cmp rax, rbx
    jbe wrong
    print text
    exit 0
wrong:
    exit 1

.include "print64.inc"

text:
    .asciz "the time-stamp counter went up\n"
