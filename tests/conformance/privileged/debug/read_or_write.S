# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A breakpoint on loads and stores is triggered by both, not by fetches.
#
# On KVM of host kind 3: check 1 fails: its emulator, which runs CPL 0, has no data breakpoints.
#
# Source: Intel SDM vol. 3B §17.2.4 (DR7, R/W fields).

.include "../check64.inc"

    call catch_faults
    mov eax, 0x20000
    mov dr0, rax
    mov byte ptr [0x20000], 0xC3 # RET
    mov eax, 0x30001 # L0, loads and stores, 1 byte
    mov dr7, rax
    mov eax, 0x20000
    call rax
    attempt
    mov al, [0x20000]
    caught 1
    attempt
    mov [0x20000], al
    caught 1
    exit 0

.include "../catch64.inc"
