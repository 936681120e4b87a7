# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INT n is benign, whatever its vector: #GP on the way to handler 13 is no double fault.
#
# On KVM of host kind 3: it refuses `int 0xe` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 8), table 6-4.

.include "../check64.inc"

    call catch_faults
    mov rax, [rip + idt + 13 * 16]
    mov [rip + idt + 48 * 16], rax
    mov byte ptr [rip + idt + 14 * 16 + 5], 0 # the gate of #PF is no gate
    attempt
    int 14
    caught 13, 14 * 8 + 2
    exit 0

.include "../catch64.inc"
