# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "page fault at 4 GiB + 00001000, error code 00000002\nmapped, and stored: 12345678\n"
# outcome = "exit"
# exit_code = 0
# ///

# A page fault that is mended: the handler maps the missing page, and the store runs again.
# pykvm's page tables end at 4 GiB. The error code 2 says: not present (bit 0 clear), a write (bit
# 1), at CPL 0 (bit 2 clear); CR2 holds the address.
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 14, #PF), §4.7 (page-fault exceptions).

.include "macros.inc"

UNMAPPED = 0x100001000 # 4 GiB and a page; its entry in the PDPT is number 4
PDPT_ENTRY = PDPT_BASE + 4 * 8
NEW_PD = HIGH_BASE
FRAME = 0x200000
PAGE_TABLE = 0x03 # present, writable
PAGE_LARGE = 0x83 # the same, and 2 MiB

    gate 14, page_fault
    call load_idt

    movabs rbx, UNMAPPED
    mov dword ptr [rbx], 0x12345678

    print stored_text
    mov eax, dword ptr [FRAME + 0x1000] # the same memory at its own address
    call print_hex
    print newline
    exit 0

page_fault:
    print fault_text
    mov rax, cr2
    call print_hex
    print code_text
    pop rax # the error code; IRET does not take it off the stack
    call print_hex
    print newline
    mov qword ptr [NEW_PD], FRAME + PAGE_LARGE
    mov qword ptr [PDPT_ENTRY], NEW_PD + PAGE_TABLE
    iretq

.include "print64.inc"
.include "idt64.inc"

fault_text:
    .asciz "page fault at 4 GiB + "
code_text:
    .asciz ", error code "
stored_text:
    .asciz "mapped, and stored: "
newline:
    .asciz "\n"
