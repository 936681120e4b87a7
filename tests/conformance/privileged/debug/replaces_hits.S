# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A #DB writes bits 0 to 3 of DR6 anew: those of an earlier one, or of software's, go. The other bits
# stay until software clears them.
#
# Source: Intel SDM vol. 3B §17.2.3 (debug status register DR6).

.include "../check64.inc"

BS = 0x4000

# With these bits in DR6, a #DB leaves those in its low half.
.macro from_dr6 before, after
    mov eax, \before
    mov dr6, rax
    attempt
    call hit
    caught 1
    mov rax, dr6
    equal ax, \after
.endm

    call catch_faults
    lea rax, [rip + hit]
    mov dr0, rax
    mov dr2, rax
    mov eax, 0x420 # G2
    mov dr7, rax
    from_dr6 0, 0x0FF4
    from_dr6 1, 0x0FF4
    from_dr6 15, 0x0FF4
    from_dr6 (BS + 2), (BS + 0x0FF4)
    mov eax, 0x402 # G0
    mov dr7, rax
    from_dr6 4, 0x0FF1
    from_dr6 (BS + 8), (BS + 0x0FF1)

    mov eax, 0x2400 # GD: an access to a debug register
    mov ecx, 0x0C
    mov dr6, rcx
    mov dr7, rax
    attempt
    mov rax, dr0
    caught 1
    mov rax, dr6
    equal ax, 0x2FF0

    mov ecx, 0x0F
    mov dr6, rcx
    push FLAG_TF + 2
    attempt
    popfq
    nop
    caught 1
    mov rax, dr6
    equal ax, 0x4FF0
    exit 0

hit:
    ret

.include "../catch64.inc"
