# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A misaligned operand of an instruction that asks for alignment is #GP(0) even where it lies beyond
# the limit of SS, in which it would be #SS(0) if it were aligned.
#
# Source: Intel SDM vol. 2B, MOVAPS, FXSAVE; the order is that of Intel's processors.
# On KVM of host kind 3: the kernel's instruction emulator knows no such operands.

.include "../check32.inc"

SMALL = EXTRA
CR4_OSFXSR = 1 << 9

.macro misaligned name, operand
    attempt
    \name xmm0, [\operand]
    caught 13, 0
.endm

.macro beyond name, operand
    attempt
    \name xmm0, [\operand]
    caught 12, 0
.endm

    call catch_faults
    mov eax, cr4
    or eax, CR4_OSFXSR
    mov cr4, eax
    describe SMALL, 0x0000007F, 0x00C09200 # 512 KiB: the stack ends where the segment does
    mov ebx, SMALL
    mov ss, ebx
    mov ebp, KERNEL_STACK_TOP
    sub esp, 64 # the handlers look at what lies above a frame
.irp name, movaps, movapd, paddd, addps
    beyond \name, ebp
    beyond \name, ebp+16
    misaligned \name, ebp+1
    misaligned \name, ebp+8
    misaligned \name, ebp-8
.endr
    beyond movups, ebp+8
    attempt
    movaps [ebp + 32], xmm0
    caught 12, 0
    attempt
    movaps [ebp + 36], xmm0
    caught 13, 0
    attempt
    fxsave [ebp]
    caught 12, 0
    attempt
    fxsave [ebp + 8]
    caught 13, 0
    attempt
    fxrstor [ebp + 4]
    caught 13, 0
    exit 0

.include "../catch32.inc"
