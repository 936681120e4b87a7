# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "divide error\n100 / 7 = 14\n"
# outcome = "exit"
# exit_code = 0
# ///

# A division by zero that is mended: the handler gives another divisor, and the DIV runs again. A
# fault leaves RIP at the instruction that caused it, so IRETQ repeats it. The processor has put
# SS, RSP, RFLAGS, CS and RIP on the stack, and for this exception no error code.
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 0, #DE), §6.14.2 (64-bit stack frame).

.include "macros.inc"

    gate 0, divide_error
    call load_idt

    xor edx, edx
    mov eax, 100
    xor ecx, ecx
    div ecx

    mov ebx, eax
    print result_text
    mov eax, ebx
    call print_decimal
    print newline
    exit 0

divide_error:
    push rax
    print fault_text
    pop rax
    mov ecx, 7
    iretq

.include "print64.inc"
.include "idt64.inc"

fault_text:
    .asciz "divide error\n"
result_text:
    .asciz "100 / 7 = "
newline:
    .asciz "\n"
