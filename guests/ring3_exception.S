# /// pykvm
# mode = "long"
# requires = ["user-exception"]
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "user at CPL 3\nhandler at CPL 0, called from CPL 3\nuser again at CPL 3\n"
# outcome = "exit"
# exit_code = 0
# ///

# From CPL 0 to CPL 3 by IRETQ, back by an exception, and on at CPL 3. The handler runs on the
# stack that the task state segment names (RSP0), whatever the user's stack is; it finds the
# user's CS in its frame, and moves the user's RIP past the instruction that faulted.
#
# Source: Intel SDM vol. 3A §6.14.2 (64-bit stack frame), §6.14.4 (stack switching).

.include "macros.inc"

    gate 6, invalid_opcode
    call load_idt
    enter_user user

user:
    mov r8d, cs
    print user_text
    mov eax, r8d
    call print_level
    print newline
    ud2
    mov r8d, cs
    print again_text
    mov eax, r8d
    call print_level
    print newline
    exit 0

invalid_opcode:
    mov r8d, cs
    print handler_text
    mov eax, r8d
    call print_level
    print from_text
    mov rax, qword ptr [rsp + 8] # CS of the frame
    call print_level
    print newline
    add qword ptr [rsp], 2 # RIP of the frame: UD2 is two bytes long
    iretq

# Print the privilege level in the low bits of selector eax.
print_level:
    and al, 3
    add al, '0'
    out DEBUGCON_PORT, al
    ret

.include "print64.inc"
.include "idt64.inc"

user_text:
    .asciz "user at CPL "
handler_text:
    .asciz "handler at CPL "
from_text:
    .asciz ", called from CPL "
again_text:
    .asciz "user again at CPL "
newline:
    .asciz "\n"
