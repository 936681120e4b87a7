# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# RF in the flags that IRET loads holds instruction breakpoints off for one instruction.
#
# Source: Intel SDM vol. 3B §17.3.1.1 (instruction-breakpoint exception condition, RF flag).

.include "../check64.inc"

    call catch_faults
    lea rax, [rip + 1f]
    mov dr0, rax
    mov eax, 1 # L0
    mov dr7, rax
    xor ebx, ebx
    mov rcx, rsp
    push DATA_SELECTOR
    push rcx
    push FLAG_RF + 2
    push CODE64_SELECTOR
    push rax
    lea rax, [rip + 1f]
    mov [rsp], rax
    iretq
1:
    inc ebx
    pushfq
    pop rax
    test eax, FLAG_RF
    holds z
    attempt
    jmp 1b
    caught 1
    equal ebx, 1
    exit 0

.include "../catch64.inc"
