# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An instruction that faults is not traced.
#
# Source: Intel SDM vol. 3A §6.9, table 6-2 (priority); vol. 3B §17.3.1.4.

.include "../check64.inc"

    call catch_faults
    push FLAG_TF + 2
    attempt
    popfq
    ud2
    caught 6
    mov rax, dr6
    bt eax, 14
    holds nc
    test dword ptr [rip + caught_flags], FLAG_TF
    holds nz
    exit 0

.include "../catch64.inc"
