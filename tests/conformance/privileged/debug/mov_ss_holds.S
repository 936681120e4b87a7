# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A data breakpoint that MOV to SS meets is reported behind the instruction after it.
#
# On KVM of host kind 3: check 1 fails: its emulator, which runs CPL 0, has no data breakpoints.
#
# Source: Intel SDM vol. 3A §6.8.3 (masking exceptions and interrupts when switching stacks).

.include "../check64.inc"

    call catch_faults
    mov word ptr [0x20000], DATA_SELECTOR
    mov eax, 0x20000
    mov dr0, rax
    mov eax, 0x30001 # L0, loads and stores
    mov dr7, rax
    xor ebx, ebx
    attempt
    mov ss, [0x20000]
    inc ebx
1:
    inc ebx
    caught 1
    equal ebx, 1
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    exit 0

.include "../catch64.inc"
