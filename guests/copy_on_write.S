# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "shared: 5 5\nwrite to a read-only page, error code 00000003\ncopied: 5 6\n"
# outcome = "exit"
# exit_code = 0
# ///

# Copy on write, as fork() has it: two pages share one frame, both read-only. The first store
# faults; the handler copies the frame, maps the copy writable, and the store runs again. CR0.WP
# makes read-only count at CPL 0 too, and INVLPG makes the processor forget the old mapping.
#
# Source: Intel SDM vol. 3A §4.6.1 (access rights), §4.10.4.1 (INVLPG).

.include "macros.inc"

CR0_WP = 1 << 16
PAGE_READ_ONLY = 0x01 # present
PAGE_WRITABLE = 0x03  # present, writable
PT = HIGH_BASE        # 4 KiB pages from PARENT on
FRAME = 0x101000
COPY = 0x102000
PARENT = 0x400000
CHILD = 0x401000

    gate 14, page_fault
    call load_idt
    mov dword ptr [FRAME], 5
    mov qword ptr [PT], FRAME + PAGE_READ_ONLY
    mov qword ptr [PT + 8], FRAME + PAGE_READ_ONLY
    mov qword ptr [PD_BASE + 2 * 8], PT + PAGE_WRITABLE
    mov rax, cr3
    mov cr3, rax # forget all old mappings
    mov rax, cr0
    or rax, CR0_WP
    mov cr0, rax

    print shared_text
    call print_both
    mov dword ptr [CHILD], 6
    print copied_text
    call print_both
    exit 0

page_fault:
    print fault_text
    pop rax # the error code: present (bit 0), a write (bit 1)
    call print_hex
    print newline
    mov esi, FRAME
    mov edi, COPY
    mov ecx, 4096 / 8
    rep movsq
    mov qword ptr [PT + 8], COPY + PAGE_WRITABLE
    mov rax, cr2
    invlpg [rax]
    iretq

print_both:
    mov eax, dword ptr [PARENT]
    call print_decimal
    mov al, ' '
    out DEBUGCON_PORT, al
    mov eax, dword ptr [CHILD]
    call print_decimal
    print newline
    ret

.include "print64.inc"
.include "idt64.inc"

shared_text:
    .asciz "shared: "
fault_text:
    .asciz "write to a read-only page, error code "
copied_text:
    .asciz "copied: "
newline:
    .asciz "\n"
