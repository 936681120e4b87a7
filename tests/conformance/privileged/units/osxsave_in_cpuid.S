# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# CPUID shows CR4.OSXSAVE; XGETBV is #UD while that is clear, and CPL 3 may use it then.
#
# On KVM of host kind 3: it refuses `xgetbv` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, CPUID leaf 1, ECX bit 27; vol. 2D, XGETBV.

.include "../check64.inc"

    call catch_faults
    mov eax, 1
    cpuid
    bt ecx, 27
    holds nc
    attempt
    xgetbv
    caught 6
    set_bits cr4, CR4_OSXSAVE
    mov eax, 1
    cpuid
    bt ecx, 27
    holds c
    enter_user user
user:
    xor ecx, ecx
    xgetbv
    test eax, 1
    holds nz
    exit 0

.include "../catch64.inc"
