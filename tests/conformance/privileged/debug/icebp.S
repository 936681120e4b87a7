# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INT1 is #DB, a trap, and leaves DR6 alone; a gate's DPL does not matter to it.
#
# On KVM of host kind 3: it refuses `int1` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, INT1; vol. 3A §6.12.1.2.

.include "../check64.inc"

    call catch_faults
    attempt
    .byte 0xF1
1:
    caught 1
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    mov rax, dr6
    test eax, 0xE00F
    holds z
    enter_user user
user:
    attempt
    .byte 0xF1
    caught 1
    exit 0

.include "../catch64.inc"
