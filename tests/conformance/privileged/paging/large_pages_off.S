# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# While CR4.PSE is clear the PS bit of a directory entry is ignored: it leads to a table.
#
# On KVM of host kind 3: check 0 fails, after vector 13 with error code 0: paging cannot be switched
# on outside long mode.
#
# Source: Intel SDM vol. 3A §4.3 (32-bit paging).

.include "../check32.inc"

    call catch_faults
    call use_paging
    mov eax, 0
    mov ecx, 1024
    mov edi, 0x205000 # a table that maps the first 4 MiB
1:
    lea edx, [eax + PTE_P + PTE_W]
    mov [edi], edx
    add eax, 0x1000
    add edi, 4
    dec ecx
    jnz 1b
    mov dword ptr [DIRECTORY], 0x205000 + PTE_P + PTE_W
    or byte ptr [DIRECTORY + (WINDOW >> 22) * 4], PDE_PS
    mov eax, cr4
    and eax, ~CR4_PSE
    mov cr4, eax
    mov dword ptr [WINDOW_PAGE], 7
    equal dword ptr [WINDOW], 7
    exit 0

.include "../catch32.inc"
.include "../paging32.inc"
