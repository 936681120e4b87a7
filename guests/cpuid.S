# /// pykvm
# mode = "long"
# cpu = "x86-64-v2"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "GenuineIntel 0000000d 80000008\n"
# outcome = "exit"
# exit_code = 0
# exits = { PortOut = 32 }
# ///

# CPUID asks the processor who it is: the maker's name and the highest leaf of each range. Leaves
# beyond those must not be asked for. The head names a CPU model, which is the same on every host;
# with cpu = "host" in its place the guest shows the host's own.
#
# Source: Intel SDM vol. 2A, CPUID (leaves 0 and 0x80000000).

.include "macros.inc"

EXTENDED = 0x80000000

    xor eax, eax
    cpuid
    cmp eax, 1
    jb wrong
    cmp eax, EXTENDED
    jae wrong
    mov r8d, eax
    lea rdi, [rip + vendor] # "Genu" "ineI" "ntel": the registers' order is not alphabetical
    mov dword ptr [rdi], ebx
    mov dword ptr [rdi + 4], edx
    mov dword ptr [rdi + 8], ecx

    mov ecx, 12
check:
    mov al, byte ptr [rdi + rcx - 1]
    sub al, ' '
    cmp al, 0x7F - ' '
    jae wrong
    dec ecx
    jnz check

    mov eax, EXTENDED
    cpuid
    cmp eax, EXTENDED + 1
    jb wrong
    mov r9d, eax

    print vendor
    print space
    mov eax, r8d
    call print_hex
    print space
    mov eax, r9d
    call print_hex
    print newline
    exit 0
wrong:
    exit 1

.include "print64.inc"

vendor:
    .zero 13
space:
    .asciz " "
newline:
    .asciz "\n"
