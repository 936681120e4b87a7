# /// pykvm
# mode = "protected"
# load = 0x100000
# memory = "16M"
# append = "root=none quiet"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = """
# pykvm says: root=none quiet
# 00000000 + 0009fc00 usable
# 0009fc00 + 00000400 reserved
# 00100000 + 00f00000 usable
# """
# outcome = "exit"
# exit_code = 0
# ///

# A multiboot kernel: by the header among its first bytes it asks its loader for the command line
# and a map of the memory, and prints both, but for the kernel's name that the line begins with. The header says where the file goes and is entered, so
# that the flat binary which `pykvm asm` makes of it boots under any multiboot loader.
#
# Source: Multiboot Specification 0.6.96 §3.1.1 (header), §3.2 (machine state), §3.3 (information).

.include "macros.inc"

HEADER_MAGIC = 0x1BADB002
HEADER_FLAGS = 0x10003 # modules on pages, memory information, addresses
LOADER_MAGIC = 0x2BADB002

INFO_CMDLINE = 16 # offsets in the information structure
INFO_MMAP_LENGTH = 44
INFO_MMAP_ADDR = 48
INFO_LOADER_NAME = 64

MMAP_BASE = 4 # offsets in an entry of the memory map; `size` stands at 0
MMAP_LENGTH = 12
MMAP_TYPE = 20
MMAP_USABLE = 1

header:
    .long HEADER_MAGIC
    .long HEADER_FLAGS
    .long 0x100000000 - HEADER_MAGIC - HEADER_FLAGS # the three add up to nothing
    .long header # header_addr
    .long header # load_addr
    .long end # load_end_addr
    .long stack # bss_end_addr
    .long _start # entry_addr

_start:
    cmp eax, LOADER_MAGIC
    jne no_loader
    mov esp, stack # the loader owes none
    mov ebp, ebx

    mov esi, [ebp + INFO_LOADER_NAME]
    call put_text
    mov esi, says
    call put_text
    mov esi, [ebp + INFO_CMDLINE]
skip_name:
    lodsb
    cmp al, ' '
    jne skip_name
    call put_text
    call put_newline

    mov ebx, [ebp + INFO_MMAP_ADDR]
    mov edi, [ebp + INFO_MMAP_LENGTH]
    add edi, ebx
next_entry:
    cmp ebx, edi
    jae done
    mov edx, [ebx + MMAP_BASE]
    call put_hex
    mov esi, plus
    call put_text
    mov edx, [ebx + MMAP_LENGTH]
    call put_hex
    mov esi, usable
    cmp dword ptr [ebx + MMAP_TYPE], MMAP_USABLE
    je put_type
    mov esi, reserved
put_type:
    call put_text
    call put_newline
    add ebx, [ebx] # `size` does not count itself
    add ebx, 4
    jmp next_entry
done:
    exit 0

no_loader:
    exit 1

# Print the NUL-terminated text at esi. Changes al and esi.
put_text:
    lodsb
    test al, al
    jz put_text_end
    out DEBUGCON_PORT, al
    jmp put_text
put_text_end:
    ret

put_newline:
    mov al, 10
    out DEBUGCON_PORT, al
    ret

# Print edx as eight hexadecimal digits. Changes eax, ecx and edx.
put_hex:
    mov ecx, 8
put_digit:
    rol edx, 4
    mov eax, edx
    and eax, 15
    mov al, [digits + eax]
    out DEBUGCON_PORT, al
    dec ecx
    jnz put_digit
    ret

digits:
    .ascii "0123456789abcdef"
says:
    .asciz " says: "
plus:
    .asciz " + "
usable:
    .asciz " usable"
reserved:
    .asciz " reserved"
end:

stack = end + 0x1000 # grows down through .bss, which the loader clears
