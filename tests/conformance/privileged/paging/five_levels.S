# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# 5-level paging: CR4.LA57 changes outside long mode alone; then addresses have 57 bits, the walk begins at
# a PML5, whose entries map no pages, and code runs there. MSRs hold such addresses without it too.
#
# Source: Intel SDM vol. 3A §2.5 (CR4.LA57), §4.1.1, §4.5 (5-level paging).

.include "../check64.inc"

PML5 = 0x204000
HIGH57 = 0x10 << 48 # PML5 entry 16
.macro paging levels
    push CODE32_SELECTOR
    lea rax, [rip + 7f]
    push rax
    retfq
.code32
7:
    mov eax, cr0
    btr eax, 31
    mov cr0, eax
    mov eax, cr4
    .if \levels == 5
    or eax, CR4_LA57
    mov edx, PML5
    .else
    and eax, ~CR4_LA57
    mov edx, PML4_BASE
    .endif
    mov cr4, eax
    mov cr3, edx
    mov eax, cr0
    bts eax, 31
    mov cr0, eax
    push CODE64_SELECTOR
    push 8f
    retf
.code64
8:
.endm

    call catch_faults
    attempt
    set_bits cr4, CR4_LA57
    caught 13, 0
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ecx, 16
    jnc done
    mov rbx, HIGH57
    attempt
    mov al, [rbx]
    caught 13, 0
    write_msr MSR_LSTAR, HIGH57
    mov dword ptr [0x212340], 0x1234
    mov qword ptr [PML5], PML4_BASE + PTE_P + PTE_W + PTE_U
    mov qword ptr [PML5 + 16 * 8], PML4_BASE + PTE_P + PTE_W + PTE_U
    mov qword ptr [PML5 + 17 * 8], PML4_BASE + PTE_P + PTE_W + PTE_U + PDE_PS

    paging 5
    attempt
    clear_bits cr4, CR4_LA57
    caught 13, 0
    mov rbx, HIGH57
    equal dword ptr [rbx + 0x212340], 0x1234
    bt qword ptr [PML5 + 16 * 8], 5 # accessed
    holds c
    mov rbx, 0x11 << 48
    attempt
    mov al, [rbx]
    caught 14, PF_P + PF_RSVD
    mov rbx, 0x12 << 48
    attempt
    mov al, [rbx]
    caught 14, 0
    mov rbx, 0x100 << 48 # bit 56 without those above
    attempt
    mov al, [rbx]
    caught 13, 0
    mov rbx, 0xFF00 << 48
    attempt
    mov al, [rbx]
    caught 14, 0
    lea rax, [rip + high]
    mov rbx, HIGH57
    add rax, rbx
    jmp rax
high:
    lea rax, [rip + low]
    mov rcx, rax
    shr rcx, 48
    equal ecx, 0x10
    sub rax, rbx
    push rax
    ret
low:
    invlpg [rbx]
    equal dword ptr [rbx + 0x212340], 0x1234
    attempt
    write_msr MSR_LSTAR, 0x100 << 48
    caught 13, 0

    paging 4
    mov rbx, HIGH57
    attempt
    mov al, [rbx]
    caught 13, 0
done:
    exit 0

.include "../catch64.inc"
