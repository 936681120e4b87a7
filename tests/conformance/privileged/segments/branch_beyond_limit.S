# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A near branch beyond the limit of CS is #GP(0) at the branch itself, which has done nothing.
#
# Source: Intel SDM vol. 2A, JMP, CALL; vol. 2B, RET (protected mode exceptions).

.include "../check32.inc"

SMALL = EXTRA

    call catch_faults
    describe SMALL, 0x0000001F, 0x00C09A00 # up to 0x1FFFF
    mov ebx, 0x20000
.irp instruction, jmp ebx, call ebx, jmp 0x20000
    ljmp SMALL:1f
1:
    mov ebp, esp
    attempt
1:
    \instruction
    caught 13, 0
    equal dword ptr [caught_eip], 1b
    equal dword ptr [caught_cs], SMALL
    equal esp, ebp
.endr
    ljmp SMALL:1f
1:
    push ebx
    attempt
1:
    ret
    caught 13, 0
    equal dword ptr [caught_eip], 1b
    exit 0

.include "../catch32.inc"
