# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An instruction breakpoint strikes whatever way leads to it, and only at the first byte, length 0.
#
# Source: Intel SDM vol. 3B §17.2.5, §17.3.1.1.

.include "../check64.inc"

    call catch_faults
    lea rax, [rip + 1f + 1] # within the instruction: does nothing
    mov dr0, rax
    lea rax, [rip + 2f]
    mov dr1, rax
    mov eax, 5 # L0, L1
    mov dr7, rax
1:
    mov ebx, 7
    attempt
    jmp 2f
    nop
2:
    inc ebx
    caught 1
    equal ebx, 7
    exit 0

.include "../catch64.inc"
