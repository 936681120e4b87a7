# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Breakpoints whose L and G are clear do nothing.
#
# On KVM of host kind 3: check 1 fails: its emulator, which runs CPL 0, has no data breakpoints.
#
# Source: Intel SDM vol. 3B §17.2.4 (DR7).

.include "../check64.inc"

    call catch_faults
    mov eax, 0x20000
    mov dr0, rax
    mov eax, 0x30000
    mov dr7, rax
    mov al, [0x20000]
    mov eax, 0x30002 # G0
    mov dr7, rax
    attempt
    mov al, [0x20000]
    caught 1
    exit 0

.include "../catch64.inc"
