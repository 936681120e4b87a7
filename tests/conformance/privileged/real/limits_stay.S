# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A segment register keeps the limit that it got in protected mode when real mode loads a selector.
#
# Source: Intel SDM vol. 3A §9.9.2 (switching back to real-address mode), §20.1.1.

.include "../check16.inc"

    call catch_faults
    lgdt [table]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    mov bx, 8
    mov es, bx
    and al, ~1
    mov cr0, eax
    xor bx, bx
    mov es, bx
    mov ebx, 0x200000
    mov dword ptr es:[ebx], 7
    equal dword ptr es:[ebx], 7
    attempt
    mov eax, [ebx]
    caught 13
    exit 0

    .balign 8
gdt:
    .quad 0
    .quad 0x00CF92000000FFFF # data, 4 GiB
table:
    .word 15
    .long gdt

.include "../catch16.inc"
