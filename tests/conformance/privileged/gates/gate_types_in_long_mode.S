# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Long mode knows 64-bit interrupt and trap gates only: others, and gates to code that is not
# 64-bit, are #GP.
#
# On KVM of host kind 3: it refuses `int 0x30` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.14.1 (64-bit mode IDT); vol. 2A, INT n (64-bit mode exceptions).

.include "../check64.inc"

    call catch_faults
    gate 0x30, 0x10000
    mov byte ptr [rip + idt + 0x30 * 16 + 5], 0x86
    attempt
    int 0x30
    caught 13, 0x30 * 8 + 2
    mov byte ptr [rip + idt + 0x30 * 16 + 5], 0x85
    attempt
    int 0x30
    caught 13, 0x30 * 8 + 2
    gate 0x30, 0x10000
    mov word ptr [rip + idt + 0x30 * 16 + 2], CODE32_SELECTOR
    attempt
    int 0x30
    caught 13, CODE32_SELECTOR
    exit 0

.include "../catch64.inc"
.include "../gdt64.inc"
