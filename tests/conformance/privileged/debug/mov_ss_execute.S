# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Behind MOV to SS a breakpoint on the next instruction is not taken.
#
# On KVM of host kind 3: check 1 fails: its emulator, which runs CPL 0, takes the breakpoint behind
# MOV to SS.
#
# Source: Intel SDM vol. 3A §6.8.3 (masking exceptions and interrupts when switching stacks).

.include "../check64.inc"

    call catch_faults
    lea rax, [rip + 1f]
    mov dr0, rax
    mov eax, 1 # L0, execution
    mov dr7, rax
    attempt
    jmp 1f
1:
    nop
    caught 1 # with nothing before it, it is taken
    lea rax, [rip + 2f]
    mov dr0, rax
    xor ebx, ebx
    mov eax, DATA_SELECTOR
    mov ss, eax
2:
    inc ebx
    equal ebx, 1
    exit 0

.include "../catch64.inc"
