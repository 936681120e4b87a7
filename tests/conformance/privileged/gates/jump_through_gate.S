# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A jump through a gate stays at its level: to a nonconforming segment of an inner one it is #GP.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §5.8.4, table 5-1 (privilege check rules for call gates).

.include "../check32.inc"

CALL_GATE = EXTRA
CONFORMING = EXTRA + 8
GATE_CONFORMING = EXTRA + 16

    call catch_faults
    describe CONFORMING, 0x0000FFFF, 0x00CF9E00
    gate_to CALL_GATE, 1f, CODE32_SELECTOR, GATE_USER_32
    gate_to GATE_CONFORMING, 2f, CONFORMING, GATE_USER_32
    enter_user32 user
user:
    attempt
    ljmp CALL_GATE:0
1:
    caught 13, CODE32_SELECTOR
    ljmp GATE_CONFORMING:0
    jmp failed
2:
    mov eax, cs
    equal eax, CONFORMING + 3
    leave_user
    exit 0

.include "../catch32.inc"
