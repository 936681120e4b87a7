# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# XSAVE and XRSTOR need an area at a multiple of 64, and a header without reserved bits: #GP(0);
# they are #UD while CR4.OSXSAVE is clear.
#
# On KVM of host kind 3: it refuses `xsave ptr [rbx]` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2D, XSAVE, XRSTOR; vol. 1 §13.8.

.include "../check64.inc"

    call catch_faults
    mov ebx, 0x20000
    mov eax, 3
    xor edx, edx
    attempt
    xsave [rbx]
    caught 6
    set_bits cr4, CR4_OSXSAVE
    mov eax, 3
    xsave [rbx]
    attempt
    xsave [rbx + 16]
    caught 13, 0
    attempt
    xrstor [rbx + 16]
    caught 13, 0
    mov byte ptr [rbx + 512], 0x80 # a component that XCR0 does not enable
    attempt
    xrstor [rbx]
    caught 13, 0
    exit 0

.include "../catch64.inc"
