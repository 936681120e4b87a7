# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A breakpoint on an instruction is a fault before it, with its bit in DR6.
#
# Source: Intel SDM vol. 3B §17.3.1.1 (instruction-breakpoint exception condition).

.include "../check64.inc"

    call catch_faults
    xor ebx, ebx
    lea rax, [rip + 1f]
    mov dr1, rax
    mov eax, 4 # L1
    mov dr7, rax
    attempt
    nop
1:
    inc ebx
    caught 1
    equal ebx, 0
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    mov rax, dr6
    and eax, 15
    equal eax, 2
    test dword ptr [rip + caught_flags], FLAG_RF
    holds z
    exit 0

.include "../catch64.inc"
