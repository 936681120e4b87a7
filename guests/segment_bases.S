# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "FS: thread\nGS: processor\nGS after SWAPGS: kernel\n"
# outcome = "exit"
# exit_code = 0
# ///

# FS and GS: the segments that still have bases in 64-bit mode. MSRs hold them; threads and
# processors find their own data there. SWAPGS exchanges GS's base with a spare one, which a
# kernel does on entry.
#
# Source: Intel SDM vol. 3A §3.4.4 (segment loading in IA-32e mode); vol. 2B, SWAPGS.

.include "macros.inc"

MSR_FS_BASE = 0xC0000100
MSR_GS_BASE = 0xC0000101
MSR_KERNEL_GS_BASE = 0xC0000102

.macro write_base msr, label
    mov ecx, \msr
    lea rax, [rip + \label]
    xor edx, edx
    wrmsr
.endm

    write_base MSR_FS_BASE, thread
    write_base MSR_GS_BASE, processor
    write_base MSR_KERNEL_GS_BASE, kernel

    xor ebx, ebx
    print fs_text
    mov rsi, fs:[rbx]
    call print_text
    print gs_text
    mov rsi, gs:[rbx]
    call print_text
    swapgs
    print swapped_text
    mov rsi, gs:[rbx]
    call print_text
    exit 0

.include "print64.inc"

thread:
    .quad thread_text
processor:
    .quad processor_text
kernel:
    .quad kernel_text
fs_text:
    .asciz "FS: "
gs_text:
    .asciz "GS: "
swapped_text:
    .asciz "GS after SWAPGS: "
thread_text:
    .asciz "thread\n"
processor_text:
    .asciz "processor\n"
kernel_text:
    .asciz "kernel\n"
