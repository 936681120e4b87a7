# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A near jump with a 32-bit offset above FFFFH is #GP at the jump.
#
# Source: Intel SDM vol. 2A, JMP (real-address mode exceptions).

.include "../check16.inc"

    call catch_faults
    mov ebx, 0x10000
    attempt
1:
    jmp ebx
    caught 13
    equal word ptr [caught_ip], 1b
    exit 0

.include "../catch16.inc"
