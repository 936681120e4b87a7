# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "real, protected, long\n"
# outcome = "exit"
# exit_code = 0
# exits = { PortOut = 23 }
# ///

# The way of every x86 kernel: from real mode to protected mode to long mode. The guest brings its
# own descriptors and page tables; pykvm builds none for a guest that starts in real mode. Each
# mode prints its name.
#
# Source: Intel SDM vol. 3A §9.9.1 (switching to protected mode), §9.8.5 (IA-32e mode).

.include "macros.inc"

CR0_PE = 1 << 0
CR0_PG = 1 << 31
CR4_PAE = 1 << 5
MSR_EFER = 0xC0000080
EFER_LME = 1 << 8
PAGE_TABLE = 0x03 # present, writable
PAGE_LARGE = 0x83 # the same, and 2 MiB

CODE32 = 0x08 # selectors in the table below
CODE64 = 0x10
DATA = 0x18

    mov si, real_text
print_real:
    lodsb
    out DEBUGCON_PORT, al
    cmp al, ' '
    jne print_real

    lgdt [gdt_pointer]
    mov eax, cr0
    or eax, CR0_PE
    mov cr0, eax
    .byte 0xEA
    .word protected
    .word CODE32

.code32
protected:
    mov eax, DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, REAL_LOAD_BASE
    mov esi, protected_text
print_protected:
    lodsb
    out DEBUGCON_PORT, al
    cmp al, ' '
    jne print_protected

    # One entry in each of three tables maps the first 2 MiB onto themselves.
    mov dword ptr [PML4_BASE], PDPT_BASE + PAGE_TABLE
    mov dword ptr [PDPT_BASE], PD_BASE + PAGE_TABLE
    mov dword ptr [PD_BASE], PAGE_LARGE

    mov eax, cr4
    or eax, CR4_PAE
    mov cr4, eax
    mov eax, PML4_BASE
    mov cr3, eax
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_LME
    wrmsr
    mov eax, cr0
    or eax, CR0_PG # long mode is active from here on, in a 32-bit segment
    mov cr0, eax
    .byte 0xEA
    .long long
    .word CODE64

.code64
long:
    lea rsi, [rip + long_text]
print_long:
    lodsb
    out DEBUGCON_PORT, al
    cmp al, 10
    jne print_long
    exit 0

    .balign 8
gdt:
    .quad 0
    .quad 0x00CF9A000000FFFF # 32-bit code, 4 GiB
    .quad 0x00AF9A000000FFFF # 64-bit code
    .quad 0x00CF92000000FFFF # data, 4 GiB
gdt_pointer:
    .word 31
    .long gdt

real_text:
    .ascii "real, "
protected_text:
    .ascii "protected, "
long_text:
    .ascii "long\n"
