# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# There is no single-step trap behind MOV to SS.
#
# On KVM of host kind 3: check 2 fails, after vector 1 with error code 0: it traps behind MOV to SS.
#
# Source: Intel SDM vol. 3A §6.8.3 (masking exceptions and interrupts when switching stacks).

.include "../check64.inc"

    call catch_faults
    xor ebx, ebx
    mov ecx, DATA_SELECTOR
    push FLAG_TF + 2
    attempt
    popfq
    mov ss, ecx
    inc ebx
1:
    inc ebx
    caught 1
    equal ebx, 1
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    exit 0

.include "../catch64.inc"
