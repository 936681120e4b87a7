# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With TF set #DB comes behind each instruction, BS in DR6; the handler has TF clear.
#
# Source: Intel SDM vol. 3B §17.3.1.4 (single-step exception condition).

.include "../check64.inc"

    call catch_faults
    xor ebx, ebx
    push FLAG_TF + 2
    attempt
    popfq
    inc ebx
1:
    inc ebx
    caught 1
    equal ebx, 1
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    test dword ptr [rip + caught_flags], FLAG_TF
    holds nz
    mov rax, dr6
    bt eax, 14
    holds c
    pushfq
    pop rax
    test eax, FLAG_TF
    holds z
    exit 0

.include "../catch64.inc"
