# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# XSETBV is #GP(0) for an XCR0 without x87, for AVX without SSE, for reserved bits, for XCR1, at CPL
# 3.
#
# Source: Intel SDM vol. 2D, XSETBV; vol. 1 §13.3.

.include "../check64.inc"

    call catch_faults
    set_bits cr4, CR4_OSXSAVE
    xor edx, edx
    xor ecx, ecx
.irp value, 2, 5, 0x80000001
    mov eax, \value
    attempt
    xsetbv
    caught 13, 0
.endr
    mov eax, 3
    inc ecx
    attempt
    xsetbv
    caught 13, 0
    dec ecx
    enter_user user
user:
    attempt
    xsetbv
    caught 13, 0
    exit 0

.include "../catch64.inc"
