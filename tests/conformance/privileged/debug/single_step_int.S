# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INT n clears TF before it could trap: the handler's first instruction is not reported, and the
# flags on its stack have TF set.
#
# On KVM of host kind 3: it refuses `int 0x30` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3B §17.3.1.4 (single-step exception condition).

.include "../check64.inc"

    call catch_faults
    gate 0x30, handler
    push FLAG_TF + 2
    attempt
    popfq
    int 0x30
1:
    nop
2:
    caught 1
    equal ebx, 7
    lea rax, [rip + 2b]
    equal [rip + caught_rip], rax # behind NOP: IRET brings TF back
    exit 0

handler:
    mov ebx, 7
    iretq

.include "../catch64.inc"
