# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Long mode switches no tasks: a jump to a TSS is #GP with its selector.
#
# On KVM of host kind 3: it refuses `jmp ptr [rip + 0x26]` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §7.7 (task management in 64-bit mode); vol. 2A, JMP.

.include "../check64.inc"

    call catch_faults
    attempt
    jmp far ptr [rip + target]
    caught 13, TSS_SELECTOR
    exit 0

target:
    .long 0
    .word TSS_SELECTOR

.include "../catch64.inc"
