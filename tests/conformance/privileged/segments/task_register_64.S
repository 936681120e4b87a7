# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# LTR reads 16 bytes in long mode: the upper half has the base's bits 32 to 63 and type 0.
#
# On KVM of host kind 3: check 1 fails: it does not look at the type in the upper half.
#
# Source: Intel SDM vol. 3A §7.2.3 (TSS descriptor in 64-bit mode); vol. 2A, LTR.

.include "../check64.inc"

OTHER = EXTRA

    call catch_faults
    call use_own_gdt
    describe OTHER, 0x0000890000000067
    describe OTHER + 8, 0x1F00 << 32
    mov ebx, OTHER
    attempt
    ltr bx
    caught 13, OTHER
    describe OTHER + 8, 0
    ltr bx
    str ax
    equal ax, OTHER
    equal byte ptr [rip + own_gdt + OTHER + 5], 0x8B
    exit 0

.include "../catch64.inc"
.include "../gdt64.inc"
