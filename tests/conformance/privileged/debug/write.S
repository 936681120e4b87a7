# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A breakpoint on stores is a trap behind the instruction; loads do not trigger it.
#
# On KVM of host kind 3: check 1 fails: its emulator, which runs CPL 0, has no data breakpoints.
#
# Source: Intel SDM vol. 3B §17.3.1.2 (data memory breakpoint).

.include "../check64.inc"

    call catch_faults
    mov eax, 0x20000
    mov dr0, rax
    mov eax, 0xD0001 # L0, stores, 4 bytes
    mov dr7, rax
    mov eax, [0x20000]
    attempt
    mov dword ptr [0x20000], 7
1:
    caught 1
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    mov rax, dr6
    and eax, 15
    equal eax, 1
    xor eax, eax
    mov dr7, rax
    equal dword ptr [0x20000], 7
    exit 0

.include "../catch64.inc"
