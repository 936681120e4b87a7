# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A 16-bit TSS holds 16-bit registers; the upper halves become ones, which the manual leaves open and
# processors since the 80386 do. FS and GS are null.
#
# On KVM of host kind 3: it refuses `ljmp 0x60:0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §7.6 (16-bit TSS), §7.3.

.include "../check32.inc"

TASK16 = EXTRA
LOW_CODE = EXTRA + 8

    call catch_faults
    describe LOW_CODE, 0x0000FFFF, 0x00CF9A01 # base 0x10000, where this guest is
    describe TASK16, 0x2B + ((task16 & 0xFFFF) << 16), 0x8100 + (task16 >> 16)
    mov ebx, 0x56780000
    ljmp TASK16:0
1:
    equal ebx, 0xFFFF1234
    equal ecx, 0xFFFF0000
    equal edi, 0xFFFFFFFF
    equal esp, 0xFFFF8000
    mov eax, fs
    equal eax, 0
    equal byte ptr [own_gdt + TASK16 + 5], 0x83
    equal word ptr [task + 76], CODE32_SELECTOR # the old task was a 32-bit one
    exit 0

    .balign 4
task16:
    .word 0, 0, 0, 0, 0, 0, 0      # link and inner stacks
    .word 1b - 0x10000, 2          # IP and FLAGS
    .word 0, 0, 0, 0x1234          # AX, CX, DX, BX
    .word 0x8000, 0, 0, 0xFFFF     # SP, BP, SI, DI
    .word DATA_SELECTOR, LOW_CODE, DATA_SELECTOR, DATA_SELECTOR, 0

.include "../catch32.inc"
