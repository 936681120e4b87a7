# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# In compatibility mode segments have bases and limits again.
#
# Source: Intel SDM vol. 3A §3.2.4, §5.3.1 (limit checking in 64-bit mode).

.include "../check64.inc"

SMALL = EXTRA

    call catch_faults
    call use_own_gdt
    describe SMALL, 0x0040F20200000010 # data of DPL 3, base 0x20000, limit 0x10
    mov dword ptr [0x2000C], 0x1234
    mov byte ptr [rip + goes_inside], 1
    mov qword ptr [rip + resume_rip], inside
    push USER_DATA_SELECTOR + 3
    push USER_STACK_TOP
    push 2
    push USER_CODE32_SELECTOR + 3
    lea rax, [rip + user]
    push rax
    iretq
.code32
user:
    mov eax, SMALL + 3
    mov es, eax
    mov ebx, es:[0xC]
    mov ecx, es:[0x10]
.code64
inside:
    equal ebx, 0x1234
    equal dword ptr [rip + caught_vector], 13
    equal dword ptr [rip + caught_error], 0
    exit 0

.include "../catch64.inc"
.include "../gdt64.inc"
