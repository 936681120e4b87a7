# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A data breakpoint in a repeated string instruction traps behind the repetition that meets it.
#
# On KVM of host kind 3: check 1 fails: its emulator, which runs CPL 0, has no data breakpoints.
#
# Source: Intel SDM vol. 3B §17.3.1.2 (data memory breakpoint).

.include "../check64.inc"

    call catch_faults
    mov eax, 0x20102
    mov dr0, rax
    mov eax, 0x10001 # L0, stores, 1 byte
    mov dr7, rax
    mov edi, 0x20100
    mov ecx, 8
    xor eax, eax
    attempt
    rep stosb
    caught 1
    equal ecx, 5
    equal edi, 0x20103
    exit 0

.include "../catch64.inc"
