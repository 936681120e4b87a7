# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Bits of DR6 and DR7 that are fixed read as they are, whatever is written.
#
# Source: Intel SDM vol. 3B §17.2.3, §17.2.4, figure 17-2.

.include "../check64.inc"

    call catch_faults
    xor eax, eax
    mov dr6, rax
    mov rax, dr6
    and eax, 0xFFFE0FF0
    mov ebx, 0xFFFE0FF0
    equal eax, ebx
    mov rax, dr7
    mov eax, 0xD000
    mov dr7, rax
    mov rax, dr7
    and eax, 0xD400
    equal eax, 0x400
    exit 0

.include "../catch64.inc"
