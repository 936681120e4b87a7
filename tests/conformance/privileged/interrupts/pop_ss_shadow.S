# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# POP to SS holds a single-step trap off as MOV to SS does; the next instruction is executed
# untraced.
#
# On KVM of host kind 3: check 2 fails, after vector 1 with error code 0: it traps behind POP to SS.
#
# Source: Intel SDM vol. 3A §6.8.3 (masking exceptions and interrupts when switching stacks).

.include "../check32.inc"

    call catch_faults
    xor ebx, ebx
    push DATA_SELECTOR
    push FLAG_TF + 2
    attempt
    popfd
    pop ss
    inc ebx
1:
    inc ebx
    caught 1
    equal ebx, 1
    equal dword ptr [caught_eip], 1b
    exit 0

.include "../catch32.inc"
