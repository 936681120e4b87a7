# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A jump to an offset beyond the limit of the code segment is #GP(0), and nothing has changed.
#
# On KVM of host kind 3: it refuses `ljmp 0x60:0x20000` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, JMP; vol. 3A §5.3 (limit checking).

.include "../check32.inc"

SMALL = EXTRA

    call catch_faults
    describe SMALL, 0x0000001F, 0x00C09A00 # up to 0x1FFFF
    attempt
    ljmp SMALL:0x20000
    caught 13, 0
    equal dword ptr [caught_cs], CODE32_SELECTOR
    ljmp SMALL:1f
1:
    mov ebx, 0x20000
    attempt
    jmp ebx
    caught 13, 0
    exit 0

.include "../catch32.inc"
