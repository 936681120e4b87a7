# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An instruction that lies across the limit of the code segment is #GP(0).
#
# Source: Intel SDM vol. 3A §5.3 (limit checking).

.include "../check32.inc"

SMALL = EXTRA

    call catch_faults
    describe SMALL, 0x0000001F, 0x00C09A00 # up to 0x1FFFF
    mov byte ptr [0x1FFFE], 0x90
    mov byte ptr [0x1FFFF], 0xB0 # MOV AL, with its operand behind the limit
    attempt
    ljmp SMALL:0x1FFFE
    caught 13, 0
    equal dword ptr [caught_eip], 0x1FFFF
    exit 0

.include "../catch32.inc"
