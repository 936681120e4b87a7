# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# In 64-bit code DS, ES and SS have no base and no limit; FS and GS have a base and no limit.
#
# Source: Intel SDM vol. 3A §3.2.4 (segmentation in IA-32e mode).

.include "../check64.inc"

SMALL = EXTRA

    call catch_faults
    call use_own_gdt
    describe SMALL, 0x0040920200000010 # base 0x20000, limit 0x10
    mov dword ptr [0x20100], 0x1234
    mov dword ptr [0x100], 0x5678
    mov eax, SMALL
    mov es, eax
    mov fs, eax
    mov rdi, 0x100
    mov eax, 0x5678
    scasd
    holds z
    equal dword ptr fs:[0x100], 0x1234
    exit 0

.include "../catch64.inc"
.include "../gdt64.inc"
