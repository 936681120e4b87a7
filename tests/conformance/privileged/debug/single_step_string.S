# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A repeated string instruction is traced behind each repetition; between two of them the flags that
# are pushed have RF set.
#
# On KVM of host kind 3: check 2 fails, after vector 1 with error code 0: it traps behind the last
# repetition only.
#
# Source: Intel SDM vol. 3B §17.3.1.4 (single-step exception condition), §17.3.1.1 (RF flag).

.include "../check64.inc"

    call catch_faults
    mov esi, 0x20000
    mov edi, 0x20100
    mov ecx, 5
    push FLAG_TF + 2
    attempt
    popfq
1:
    rep movsb
    caught 1
    equal ecx, 4
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    test dword ptr [rip + caught_flags], FLAG_RF
    holds nz
    exit 0

.include "../catch64.inc"
