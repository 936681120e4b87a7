# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A 16-bit TSS has no bitmap: above IOPL there are no ports.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 1 §19.5.2 (I/O permission bit map).

.include "../check32.inc"

TASK16 = EXTRA

    call catch_faults
    mov eax, task16
    mov ebx, eax
    shl ebx, 16
    mov bx, 0x2FF
    mov [own_gdt + TASK16], ebx
    shr eax, 16
    or eax, 0x8100
    mov [own_gdt + TASK16 + 4], eax
    mov eax, TASK16
    ltr ax
    mov word ptr [task16 + 2], 0xF000 # an inner stack below 64 KiB
    mov word ptr [task16 + 4], DATA_SELECTOR
    enter_user32 user
user:
    mov dword ptr [resume_eip], 1f
    mov byte ptr [goes_inside], 1
    in al, 0x80
    jmp failed
1:
    equal dword ptr [caught_vector], 13
    equal dword ptr [caught_error], 0
    exit 0

    .balign 4
task16:
    .zero 0x300

.include "../catch32.inc"
