# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A data breakpoint covers as many bytes as its length says, from its address rounded down to a
# multiple of that; an access that touches one of them triggers it.
#
# On KVM of host kind 3: check 1 fails: its emulator, which runs CPL 0, has no data breakpoints.
#
# Source: Intel SDM vol. 3B §17.2.5 (breakpoint field recognition).

.include "../check64.inc"

    call catch_faults
    mov eax, 0x20003 # rounded down to 0x20000
    mov dr0, rax
    mov eax, 0xF0001 # L0, loads and stores, 4 bytes
    mov dr7, rax
    mov al, [0x1FFFF]
    mov al, [0x20004]
    attempt
    mov al, [0x20000]
    caught 1
    attempt
    mov ax, [0x20003]
    caught 1
    attempt
    mov eax, [0x1FFFD]
    caught 1
    exit 0

.include "../catch64.inc"
