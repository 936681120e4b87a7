# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With TF set at CPL 3 #DB comes behind each instruction.
#
# Source: Intel SDM vol. 3B §17.3.1.4 (single-step exception condition).

.include "../check64.inc"

    call catch_faults
    enter_user user
user:
    xor ebx, ebx
    push 0x3002 + FLAG_TF
    attempt
    popfq
    inc ebx
1:
    inc ebx
    caught 1
    equal ebx, 1
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    exit 0

.include "../catch64.inc"
