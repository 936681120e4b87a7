# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A near branch to an address that is not canonical is #GP(0) at the branch itself, which has done
# nothing.
#
# Source: Intel SDM vol. 2A, JMP, CALL; vol. 2B, RET (64-bit mode exceptions).

.include "../check64.inc"

    call catch_faults
    mov rbx, 0x800000000000
    attempt
1:
    jmp rbx
    caught 13, 0
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    mov rbp, rsp
    attempt
1:
    call rbx
    caught 13, 0
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    equal [rip + caught_rsp], rbp
    push rbx
    mov rbp, rsp
    attempt
1:
    ret
    caught 13, 0
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    equal [rip + caught_rsp], rbp
    exit 0

.include "../catch64.inc"
