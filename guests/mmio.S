# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit", "scratch"]
#
# [expect]
# output = "1 2 4 8: all widths read back\n"
# outcome = "exit"
# exit_code = 0
# exits = { MmioWrite = 4, MmioRead = 5 }
# ///

# Memory-mapped input and output of every width. A load or store at an address without memory is
# an exit, which pykvm offers to the device at that address. The scratch device keeps what is
# written; the read of eight bytes shows how the stores of one, two and four lie side by side.
#
# Source: Intel SDM vol. 1 §19.3.1 (memory-mapped I/O).

.include "macros.inc"

    mov ebx, SCRATCH_BASE

    mov byte ptr [rbx], 0x11
    cmp byte ptr [rbx], 0x11
    jne wrong
    mov word ptr [rbx + 2], 0x3322
    cmp word ptr [rbx + 2], 0x3322
    jne wrong
    mov dword ptr [rbx + 4], 0x77665544
    cmp dword ptr [rbx + 4], 0x77665544
    jne wrong
    movabs rax, 0x7766554433220011
    cmp qword ptr [rbx], rax
    jne wrong
    mov qword ptr [rbx + 8], rax
    cmp qword ptr [rbx + 8], rax
    jne wrong

    print right_text
    exit 0
wrong:
    exit 1

.include "print64.inc"

right_text:
    .asciz "1 2 4 8: all widths read back\n"
