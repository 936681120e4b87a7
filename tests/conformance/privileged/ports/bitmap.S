# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# output = "A"
# outcome = "exit"
# exit_code = 0
# ///

# Above IOPL a port needs its bit clear in the bitmap of the TSS, each byte of a wider access its
# own.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 1 §19.5.2 (I/O permission bit map).

.include "../check32.inc"

WIDE = EXTRA

    call catch_faults
    mov eax, big_task
    mov ebx, eax
    shl ebx, 16
    mov bx, 104 + 31 + 1
    mov [own_gdt + WIDE], ebx
    shr eax, 16
    or eax, 0x8900
    mov [own_gdt + WIDE + 4], eax
    mov eax, WIDE
    ltr ax
    enter_user32 user
user:
    mov al, 'A'
    out DEBUGCON_PORT, al
    attempt
    in al, 0x80
    caught 13, 0
    attempt
    out DEBUGCON_PORT, ax # the next port is not allowed
    caught 13, 0
    mov dx, 0x500 # behind the map
    attempt
    in al, dx
    caught 13, 0
    leave_user
    exit 0

    .balign 4
big_task:
    .long 0, KERNEL_STACK_TOP, DATA_SELECTOR
    .zero 104 - 14
    .word 104
    .fill DEBUGCON_PORT / 8, 1, 0xFF
    .byte 0xFF & ~(1 << (DEBUGCON_PORT & 7))
    .fill 31 - DEBUGCON_PORT / 8, 1, 0xFF
    .byte 0xFF

.include "../catch32.inc"
