# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# What the processor reads itself, such as a descriptor, it reads as a supervisor, at CPL 3 too: a
# page that CPL 3 cannot use will do, and the error code of a fault has U clear.
#
# Source: Intel SDM vol. 3A §4.6.1 (implicit supervisor-mode accesses), §4.7 (error code).

.include "../check64.inc"

    call catch_faults
    call open_window
    map_window WINDOW_PAGE + PTE_P + PTE_W
    mov esi, GDT_BASE
    mov edi, WINDOW
    mov ecx, EXTRA / 8
    rep movsq
    lgdt [rip + kernel_gdt]
    enter_user user
user:
    mov ebx, USER_DATA_SELECTOR + 3
    mov fs, ebx
    attempt
    mov ebx, 0x1003
    mov fs, ebx
    caught 14, 0
    exit 0

kernel_gdt:
    .word 0x1FFF
    .quad WINDOW

.include "../catch64.inc"
.include "../paging64.inc"
