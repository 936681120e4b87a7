# /// pykvm
# mode = "long"
# requires = ["user-syscall"]
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "service at CPL 0\n21 * 2 = 42\n"
# outcome = "exit"
# exit_code = 0
# ///

# A system call the fast way: SYSCALL and SYSRET. SYSCALL takes its target from the MSR LSTAR and
# its selectors from STAR, and touches no memory: RIP goes to RCX, RFLAGS to R11, and the stack
# stays the user's. SYSRETQ goes back to 64-bit code.
#
# It needs SYSCALL to change to CPL 0, which hosts without VT-x and AMD-V do not do for a guest;
# `pykvm doctor` tries it under the name user-syscall.
#
# Source: Intel SDM vol. 3A §5.8.8 (fast system calls in 64-bit mode); vol. 2B, SYSCALL, SYSRET.

.include "macros.inc"

MSR_EFER = 0xC0000080
EFER_SCE = 1 << 0
MSR_STAR = 0xC0000081
STAR_SELECTORS = (USER_CODE32_SELECTOR + 3) << 16 | CODE64_SELECTOR
MSR_LSTAR = 0xC0000082
MSR_SFMASK = 0xC0000084
RFLAGS_IF_DF = 0x600

    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_SCE
    wrmsr
    mov ecx, MSR_STAR # high half: what SYSRET counts from, and the CS of SYSCALL
    xor eax, eax
    mov edx, STAR_SELECTORS
    wrmsr
    mov ecx, MSR_LSTAR
    lea rax, [rip + service]
    xor edx, edx
    wrmsr
    mov ecx, MSR_SFMASK # flags that SYSCALL clears
    mov eax, RFLAGS_IF_DF
    xor edx, edx
    wrmsr
    enter_user user

user:
    mov eax, 21
    syscall
    mov ebx, eax
    print result_text
    mov eax, ebx
    call print_decimal
    print newline
    exit 0

service:
    mov r8, rsp
    mov rsp, KERNEL_STACK_TOP
    push rax
    mov r9d, cs
    print service_text
    mov eax, r9d
    and al, 3
    add al, '0'
    out DEBUGCON_PORT, al
    print newline
    pop rax
    add eax, eax
    mov rsp, r8
    sysretq

.include "print64.inc"

service_text:
    .asciz "service at CPL "
result_text:
    .asciz "21 * 2 = "
newline:
    .asciz "\n"
