# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With EFER.LME set paging cannot be switched on while CR4.PAE is clear: #GP(0).
#
# Source: Intel SDM vol. 3A §9.8.5 (initializing IA-32e mode); vol. 2B, MOV to control registers.

.include "../check32.inc"

    call catch_faults
    mov ecx, 0xC0000080
    rdmsr
    or eax, 0x100 # LME
    wrmsr
    mov ebx, cr0
    or ebx, CR0_PG
    attempt
    mov cr0, ebx
    caught 13, 0
    mov eax, cr4
    test eax, CR4_PAE
    holds z
    exit 0

.include "../catch32.inc"
