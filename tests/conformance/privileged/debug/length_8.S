# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Length 2 is eight bytes.
#
# On KVM of host kind 3: check 1 fails: its emulator, which runs CPL 0, has no data breakpoints.
#
# Source: Intel SDM vol. 3B §17.2.4 (DR7, LEN fields).

.include "../check64.inc"

    call catch_faults
    mov eax, 0x20000
    mov dr3, rax
    mov eax, 0xB0000040 # L3, loads and stores, 8 bytes
    mov dr7, rax
    mov al, [0x20008]
    attempt
    mov al, [0x20007]
    caught 1
    mov rax, dr6
    and eax, 15
    equal eax, 8
    exit 0

.include "../catch64.inc"
