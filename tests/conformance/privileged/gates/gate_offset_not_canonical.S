# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A gate's offset that is not canonical is #GP at the instruction, with EXT for an exception.
#
# On KVM of host kind 3: it refuses `int 0x30` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, INT n (#GP(EXT)).

.include "../check64.inc"

    call catch_faults
    gate 0x30, failed
    mov dword ptr [rip + idt + 0x30 * 16 + 8], 0x8000
    attempt
1:
    int 0x30
    caught 13, 0
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    mov dword ptr [rip + idt + 6 * 16 + 8], 0x8000
    attempt
1:
    ud2
    caught 13, 1
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    exit 0

.include "../catch64.inc"
