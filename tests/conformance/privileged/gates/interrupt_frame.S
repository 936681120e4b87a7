# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An interrupt from CPL 3 takes SS0 and ESP0 from the TSS and pushes SS, ESP, EFLAGS, CS and EIP.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.12.1 (exception- and interrupt-handler procedures).

.include "../check32.inc"

    call catch_faults
    vector_to 0x30, handler, INTERRUPT_USER_32
    enter_user32 user
user:
    stc
    int 0x30
behind:
    holds c
    equal esp, USER_STACK_TOP
    leave_user
    exit 0

handler:
    equal esp, KERNEL_STACK_TOP - 20
    mov eax, ss
    equal eax, DATA_SELECTOR
    mov eax, cs
    equal eax, CODE32_SELECTOR
    equal dword ptr [esp], behind
    equal dword ptr [esp + 4], USER_CODE32_SELECTOR + 3
    equal byte ptr [esp + 8], 3
    equal dword ptr [esp + 12], USER_STACK_TOP
    equal dword ptr [esp + 16], USER_DATA_SELECTOR + 3
    iretd

.include "../catch32.inc"
