# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# output = "A"
# outcome = "exit"
# exit_code = 0
# ///

# With CR4.DE set a breakpoint of kind 2 is on ports: a trap behind IN or OUT.
#
# On KVM of host kind 3: it prints "A1 0 0" and ends with status 1: its emulator has no breakpoints
# on ports.
#
# On KVM of host kind 2: it prints "A1 0 0" and ends with status 1: KVM itself carries out an access to
# a port that ends in it, and looks for no breakpoints.
#
# Source: Intel SDM vol. 3B §17.2.4 (DR7, R/W fields), §17.3.1.2.

.include "../check64.inc"

    call catch_faults
    set_bits cr4, CR4_DE
    mov eax, DEBUGCON_PORT
    mov dr0, rax
    mov eax, 0x20001 # L0, ports
    mov dr7, rax
    mov al, 'A'
    attempt
    out DEBUGCON_PORT, al
1:
    caught 1
    lea rax, [rip + 1b]
    equal [rip + caught_rip], rax
    exit 0

.include "../catch64.inc"
