# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "KERNEL_GS_BASE 55667788\nlong mode is active\na non-canonical base is refused\n"
# outcome = "exit"
# exit_code = 0
# ///

# Model-specific registers: RDMSR and WRMSR move 64 bits through EDX:EAX. The guest writes one and
# reads it back, and finds in EFER that long mode is active. Then it offers the first an address
# that cannot be: the processor refuses it with #GP.
#
# Source: Intel SDM vol. 2B, RDMSR, WRMSR; vol. 4, table 2-2 (IA32_EFER, IA32_KERNEL_GS_BASE).

.include "macros.inc"

MSR_EFER = 0xC0000080
EFER_LMA = 1 << 10
MSR_KERNEL_GS_BASE = 0xC0000102

    mov ecx, MSR_KERNEL_GS_BASE
    mov eax, 0x55667788
    mov edx, 0x1234
    wrmsr
    xor eax, eax
    xor edx, edx
    rdmsr
    cmp edx, 0x1234
    jne wrong
    mov ebx, eax
    print base_text
    mov eax, ebx
    call print_hex
    print newline

    mov ecx, MSR_EFER
    rdmsr
    test eax, EFER_LMA
    jz wrong
    print active_text

    gate 13, general_protection
    call load_idt
    mov ecx, MSR_KERNEL_GS_BASE
    xor eax, eax
    mov edx, 0x80000000 # bits 48 to 62 do not repeat bit 63
    wrmsr
wrong:
    exit 1

general_protection:
    print refused_text
    exit 0

.include "print64.inc"
.include "idt64.inc"

base_text:
    .asciz "KERNEL_GS_BASE "
active_text:
    .asciz "long mode is active\n"
refused_text:
    .asciz "a non-canonical base is refused\n"
newline:
    .asciz "\n"
