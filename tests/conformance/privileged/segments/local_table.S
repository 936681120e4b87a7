# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A selector with TI set names an entry of the LDT; while LDTR is null there is none.
#
# Source: Intel SDM vol. 3A §3.4.2 (segment selectors), §3.5.1; vol. 2A, LLDT.

.include "../check32.inc"

LOCAL = EXTRA

    call catch_faults
    mov ebx, 8 + 4
    xor eax, eax
    lldt ax
    attempt
    mov fs, ebx
    caught 13, 8 + 4
    mov dword ptr [0x20000], 0x1234
    describe LOCAL, ((table & 0xFFFF) << 16) + 15, ((table >> 16) & 0xFF) + 0x8200
    mov eax, LOCAL
    lldt ax
    mov fs, ebx
    mov eax, fs:[0]
    equal eax, 0x1234
    sldt ax
    equal ax, LOCAL
    exit 0

    .balign 8
table:
    .quad 0
    .quad 0x0040920200000FFF # base 0x20000

.include "../catch32.inc"
