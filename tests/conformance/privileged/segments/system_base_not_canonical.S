# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# LTR and LLDT of a descriptor whose base is not canonical are #GP of the selector, and change nothing.
#
# Source: Intel SDM vol. 3A §3.3.7.1 (canonical addressing), §3.5.2; vol. 2A, LTR and LLDT.

.include "../check64.inc"

TASK = EXTRA
TABLE = EXTRA + 16

# The upper half of both bases.
.macro refused upper
    describe TASK + 8, \upper
    describe TABLE + 8, \upper
    attempt
    ltr bx
    caught 13, TASK
    attempt
    lldt si
    caught 13, TABLE
    str eax
    equal eax, ebp
    sldt eax
    equal eax, 0
    equal byte ptr [rip + own_gdt + TASK + 5], 0x89 # not busy
.endm

    call catch_faults
    call use_own_gdt
    str ebp
    mov ebx, TASK
    mov esi, TABLE
    describe TASK, 0x0000890000000067
    describe TABLE, 0x000082000000000F
    refused 0xAAAAAAAA
    refused 0x01000000
    refused 0xFEFFFFFF
    refused 0x7FFFFFFF
    describe TABLE + 8, 0xFFFFFFFF
    lldt si
    sldt eax
    equal eax, TABLE
    exit 0

.include "../catch64.inc"
.include "../gdt64.inc"
