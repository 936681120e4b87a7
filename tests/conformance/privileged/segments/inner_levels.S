# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Levels 1 and 2 are between: code at CPL 1 may use data of DPL 1 to 3, and what is privileged is
# #GP.
#
# On KVM of host kind 3: it refuses `retf` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §5.5 (privilege levels), §5.6, §5.9.

.include "../check32.inc"

CODE1 = EXTRA
DATA1 = EXTRA + 8
DATA2 = EXTRA + 16

    call catch_faults
    describe CODE1, 0x0000FFFF, 0x00CFBA00
    describe DATA1, 0x0000FFFF, 0x00CFB200
    describe DATA2, 0x0000FFFF, 0x00CFD200
    push DATA1 + 1
    push USER_STACK_TOP
    push CODE1 + 1
    push 1f
    mov eax, USER_DATA_SELECTOR
    mov ds, eax
    retf
1:
    mov ebx, DATA2 + 1
    mov fs, ebx
    mov ebx, DATA1 + 1
    mov fs, ebx
    mov ebx, DATA_SELECTOR
    mov dword ptr [resume_eip], 2f
    mov byte ptr [goes_inside], 1
    mov fs, ebx
    jmp failed
2:
    equal dword ptr [caught_vector], 13
    equal dword ptr [caught_error], DATA_SELECTOR
    equal dword ptr [caught_cs], CODE1 + 1
    equal dword ptr [caught_ss], DATA1 + 1
    exit 0

.include "../catch32.inc"
