# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An access beyond the limit of SS is #SS(0), be it a PUSH or by an address with EBP or ESP in it.
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 12).

.include "../check32.inc"

SMALL = EXTRA

    call catch_faults
    describe SMALL, 0x0000007F, 0x00C09200 # 512 KiB: the stack ends where the segment does
    mov ebx, SMALL
    mov ss, ebx
    mov ebp, KERNEL_STACK_TOP - 2
    attempt
    mov eax, [ebp]
    caught 12, 0
    mov esi, esp
    mov ebp, esp
    mov esp, KERNEL_STACK_TOP - 2
    mov dword ptr [resume_eip], 1f
    mov dword ptr [resume_esp], ebp
    pop eax
    jmp failed
1:
    equal dword ptr [caught_vector], 12
    equal esp, esi
    exit 0

.include "../catch32.inc"
