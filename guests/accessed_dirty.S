# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "untouched: none\nread: accessed\nwritten: accessed, dirty\n"
# outcome = "exit"
# exit_code = 0
# ///

# A page table notes which pages were read and which were written. The processor sets bit 5 of the
# entry (accessed) and bit 6 (dirty); an operating system finds out so which pages it may take
# away, and which it must save first.
#
# Source: Intel SDM vol. 3A §4.8 (accessed and dirty flags).

.include "macros.inc"

PAGE = 0x600000
ENTRY = PD_BASE + 3 * 8 # of the 2 MiB page at 6 MiB
ACCESSED = 1 << 5
DIRTY = 1 << 6

    print untouched_text
    call print_flags
    mov ebx, PAGE
    mov eax, dword ptr [rbx]
    print read_text
    call print_flags
    mov dword ptr [rbx], 1
    print written_text
    call print_flags
    exit 0

print_flags:
    mov r8d, dword ptr [ENTRY]
    lea rsi, [rip + none_text]
    test r8d, ACCESSED
    jz print_flags_put
    lea rsi, [rip + accessed_text]
    test r8d, DIRTY
    jz print_flags_put
    lea rsi, [rip + dirty_text]
print_flags_put:
    jmp print_text

.include "print64.inc"

untouched_text:
    .asciz "untouched: "
read_text:
    .asciz "read: "
written_text:
    .asciz "written: "
none_text:
    .asciz "none\n"
accessed_text:
    .asciz "accessed\n"
dirty_text:
    .asciz "accessed, dirty\n"
