# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# LTR marks the TSS busy, and takes none that is.
#
# Source: Intel SDM vol. 2A, LTR; vol. 3A §7.2.2 (TSS descriptor).

.include "../check32.inc"

OTHER = EXTRA
ABSENT = EXTRA + 8

    call catch_faults
    describe OTHER, 0x00000067, 0x00008900
    describe ABSENT, 0x00000067, 0x00000900
    mov ebx, OTHER
    ltr bx
    equal byte ptr [own_gdt + OTHER + 5], 0x8B
    str ax
    equal ax, OTHER
    attempt
    ltr bx
    caught 13, OTHER
    mov ebx, ABSENT
    attempt
    ltr bx
    caught 11, ABSENT
    mov ebx, DATA_SELECTOR
    attempt
    ltr bx
    caught 13, DATA_SELECTOR
    exit 0

.include "../catch32.inc"
