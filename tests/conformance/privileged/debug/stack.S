# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Data breakpoints see pushes and pops.
#
# On KVM of host kind 3: check 1 fails: its emulator, which runs CPL 0, has no data breakpoints.
#
# Source: Intel SDM vol. 3B §17.2.5, §17.3.1.2 (data memory breakpoint).

.include "../check64.inc"

    call catch_faults
    lea rax, [rsp - 8]
    mov dr0, rax
    mov eax, 0xB0001 # L0, loads and stores, 8 bytes
    mov dr7, rax
    attempt
    push 7
1:
    caught 1
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    xor eax, eax
    mov dr7, rax
    equal qword ptr [rsp - 8], 7
    exit 0

.include "../catch64.inc"
