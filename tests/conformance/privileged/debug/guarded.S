# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With GD set in DR7 an access to a debug register is #DB before it, BD in DR6; the handler has GD
# clear.
#
# On KVM of host kind 3: check 2 fails, after vector 1 with error code 0: the frame has another
# address.
#
# Source: Intel SDM vol. 3B §17.3.1.3 (general-detect exception condition).

.include "../check64.inc"

    call catch_faults
    mov eax, 0x2000
    mov dr7, rax
    attempt
1:
    mov rax, dr0
    caught 1
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    test dword ptr [rip + caught_flags], FLAG_RF
    holds nz
    mov rax, dr6
    bt eax, 13
    holds c
    mov rax, dr7
    bt eax, 13
    holds nc
    exit 0

.include "../catch64.inc"
