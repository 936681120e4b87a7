# /// pykvm
# mode = "long"
# requires = ["user-int"]
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "called from CPL 3\n21 * 2 = 42\n"
# outcome = "exit"
# exit_code = 0
# ///

# A system call the old way: INT n goes through a gate that is open to CPL 3. The service at CPL 0
# doubles eax, and IRETQ returns behind the INT.
#
# It needs INT n at CPL 3 to reach the guest's IDT, which hosts without VT-x and AMD-V do not do;
# `pykvm doctor` tries it under the name user-int.
#
# Source: Intel SDM vol. 3A §6.12.1.2 (protection of gates); vol. 2A, INT n.

.include "macros.inc"

SERVICE = 0x30

    user_gate SERVICE, service
    call load_idt
    enter_user user

user:
    mov eax, 21
    int SERVICE
    mov ebx, eax
    print result_text
    mov eax, ebx
    call print_decimal
    print newline
    exit 0

service:
    push rax
    print from_text
    mov rax, qword ptr [rsp + 16] # CS of the frame
    and al, 3
    add al, '0'
    out DEBUGCON_PORT, al
    print newline
    pop rax
    add eax, eax
    iretq

.include "print64.inc"
.include "idt64.inc"

from_text:
    .asciz "called from CPL "
result_text:
    .asciz "21 * 2 = "
newline:
    .asciz "\n"
