# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# DR6 has a bit for every breakpoint that an instruction meets; the next #DB takes their place.
#
# On KVM of host kind 3: check 1 fails: its emulator, which runs CPL 0, has no data breakpoints.
#
# Source: Intel SDM vol. 3B §17.2.3 (debug status register DR6).

.include "../check64.inc"

    call catch_faults
    mov eax, 0x20000
    mov dr0, rax
    mov eax, 0x20001
    mov dr2, rax
    mov eax, 0x3030011 # L0 and L2, loads and stores, 1 byte each
    mov dr7, rax
    attempt
    mov ax, [0x20000]
    caught 1
    mov rax, dr6
    and eax, 15
    equal eax, 5
    push FLAG_TF + 2
    attempt
    popfq
    nop
    caught 1
    mov rax, dr6
    and eax, 0x400F
    equal eax, 0x4000
    exit 0

.include "../catch64.inc"
