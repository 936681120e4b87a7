# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# The inner stack's selector in the TSS must be a writable segment of the inner level: #TS with that
# selector, #SS where it is not present.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §5.8.5 (stack switching), §6.15 (interrupt 10).

.include "../check32.inc"

CALL_GATE = EXTRA
ABSENT = EXTRA + 8

    call catch_faults
    gate_to CALL_GATE, 0x10000, CODE32_SELECTOR, GATE_USER_32
    describe ABSENT, 0x0000FFFF, 0x00CFB200 # of level 1, as the handlers' stack is in use
    describe ABSENT + 8, 0x0000FFFF, 0x00CF3200
    describe ABSENT + 16, 0x0000FFFF, 0x00CFBA00 # code of level 1
    gate_to ABSENT + 24, 0x10000, ABSENT + 16, GATE_USER_32
    mov dword ptr [task + 12], KERNEL_STACK_TOP - 0x800
    mov dword ptr [task + 16], DATA_SELECTOR
    enter_user32 user
user:
    attempt
    lcall (ABSENT + 24):0
    caught 10, DATA_SELECTOR
    mov dword ptr [task + 16], 0
    attempt
    lcall (ABSENT + 24):0
    caught 10, 0
    mov dword ptr [task + 16], ABSENT + 8 + 1
    attempt
    lcall (ABSENT + 24):0
    caught 12, ABSENT + 8
    leave_user
    exit 0

.include "../catch32.inc"
