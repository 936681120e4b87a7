# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A fault's frame has the address of the instruction, with its prefixes, and what it would have
# changed is unchanged.
#
# Source: Intel SDM vol. 3A §6.5 (exception classifications).

.include "../check64.inc"

    call catch_faults
    mov rsi, 0x700000000000
    mov edi, 0x200000
    mov ecx, 5
    attempt
1:
    rep movsb
    caught 14, 0
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    equal ecx, 5
    equal edi, 0x200000
    exit 0

.include "../catch64.inc"
