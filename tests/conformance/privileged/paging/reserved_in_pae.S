# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Bits 52 to 62 of an entry are reserved in PAE paging; bit 63 is NX, reserved while EFER.NXE is
# clear.
#
# On KVM of host kind 3: check 0 fails, after vector 13 with error code 0: paging cannot be switched
# on outside long mode.
#
# Source: Intel SDM vol. 3A §4.4.2, tables 4-9 to 4-11.

.include "../check32.inc"

    call catch_faults
    call use_pae
    mov dword ptr [WINDOW_PT + 4], 1 << 20
    invlpg [WINDOW]
    attempt
    mov al, [WINDOW]
    caught 14, PF_P + PF_RSVD
    mov dword ptr [WINDOW_PT + 4], 1 << 31
    invlpg [WINDOW]
    attempt
    mov al, [WINDOW]
    caught 14, PF_P + PF_RSVD
    mov ecx, 0xC0000080
    rdmsr
    or eax, 0x800 # NXE
    wrmsr
    mov al, [WINDOW]
    mov ebx, WINDOW
    attempt
    call ebx
    caught 14, PF_P + PF_I
    exit 0

.include "../catch32.inc"
.include "../paging32.inc"
