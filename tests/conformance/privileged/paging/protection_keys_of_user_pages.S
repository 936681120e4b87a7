# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Protection keys of user pages: PKRU forbids data accesses, or writes alone, to pages of a key, at CPL 0
# too (where CR0.WP is clear, not their writes), but neither fetches nor supervisor pages. The error
# code has a bit of its own for it.
#
# On KVM of host kind 3: check 1 fails: CR4.PKE can be set without CPUID's PKU.
#
# Source: Intel SDM vol. 3A §4.6.2 (protection keys), §4.7 (PK flag); vol. 2, RDPKRU, WRPKRU.

.include "../check64.inc"

KEY5 = 5 << 59
AD5 = 1 << 10
WD5 = 2 << 10
.macro write_pkru value
    mov eax, \value
    xor ecx, ecx
    xor edx, edx
    .byte 0x0F, 0x01, 0xEF # WRPKRU
.endm
.macro read_pkru
    .byte 0x0F, 0x01, 0xEE # RDPKRU
.endm

    call catch_faults
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ecx, 3
    jnc absent
    bt ecx, 4 # OSPKE
    holds nc
    xor ecx, ecx
    attempt
    read_pkru
    caught 6
    set_bits cr4, CR4_PKE
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ecx, 4
    holds c
    mov ecx, 1
    attempt
    read_pkru
    caught 13, 0
    xor ecx, ecx
    mov edx, 1
    attempt
    .byte 0x0F, 0x01, 0xEF
    caught 13, 0

    call open_window
    map_window WINDOW_PAGE + PTE_P + PTE_W + PTE_U + KEY5
    mov byte ptr [WINDOW_PAGE], 0xC3 # RET
    mov al, [WINDOW]
    write_pkru AD5
    xor ecx, ecx
    mov edx, 7
    read_pkru
    equal eax, AD5
    equal edx, 0
    attempt
    mov al, [WINDOW]
    caught 14, PF_P + PF_PK
    mov rax, WINDOW
    equal [rip + caught_cr2], rax
    attempt
    mov [WINDOW], al
    caught 14, PF_P + PF_W + PF_PK
    mov eax, WINDOW
    call rax
    map_window WINDOW_PAGE + PTE_P + PTE_W + PTE_U + (4 << 59)
    mov al, [WINDOW]
    map_window WINDOW_PAGE + PTE_P + PTE_W + KEY5
    mov al, [WINDOW]
    map_window 0
    attempt
    mov al, [WINDOW]
    caught 14, 0

    map_window WINDOW_PAGE + PTE_P + PTE_W + PTE_U + KEY5
    write_pkru WD5
    mov al, [WINDOW]
    mov [WINDOW + 8], al # CR0.WP is clear
    set_bits cr0, CR0_WP
    attempt
    mov [WINDOW + 8], al
    caught 14, PF_P + PF_W + PF_PK
    clear_bits cr0, CR0_WP
    enter_user user
user:
    mov al, [WINDOW]
    attempt
    mov [WINDOW + 8], al
    caught 14, PF_P + PF_W + PF_U + PF_PK
    write_pkru AD5 # CPL 3 may
    attempt
    mov al, [WINDOW]
    caught 14, PF_P + PF_U + PF_PK
    write_pkru 0
    mov [WINDOW + 8], al
    exit 0
absent:
    attempt
    set_bits cr4, CR4_PKE
    caught 13, 0
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
