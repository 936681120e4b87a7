# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A call through a gate to an inner level takes the stack of that level from the TSS, pushes the old
# SS and ESP, copies as many parameters as the gate says, and pushes the old CS and EIP. RETF n
# drops the parameters from both stacks.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §5.8.5 (stack switching), §5.8.6 (returning).

.include "../check32.inc"

CALL_GATE = EXTRA

    call catch_faults
    gate_to CALL_GATE, service, CODE32_SELECTOR, GATE_USER_32, 2
    enter_user32 user
user:
    push 0x11
    push 0x22
    lcall (CALL_GATE + 3):0
behind:
    equal esp, USER_STACK_TOP
    mov eax, cs
    equal eax, USER_CODE32_SELECTOR + 3
    leave_user
    exit 0

service:
    equal esp, KERNEL_STACK_TOP - 24
    equal dword ptr [esp], behind
    equal dword ptr [esp + 4], USER_CODE32_SELECTOR + 3
    equal dword ptr [esp + 8], 0x22
    equal dword ptr [esp + 12], 0x11
    equal dword ptr [esp + 16], USER_STACK_TOP - 8
    equal dword ptr [esp + 20], USER_DATA_SELECTOR + 3
    mov eax, cs
    equal eax, CODE32_SELECTOR
    mov eax, ss
    equal eax, DATA_SELECTOR
    retf 8

.include "../catch32.inc"
