# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# LOCK before an instruction that does not take it is #UD.
#
# Source: Intel SDM vol. 2A, LOCK.

.include "../check64.inc"

    call catch_faults
    attempt
    .byte 0xF0
    mov eax, [0x20000]
    caught 6
    attempt
    .byte 0xF0
    cmp dword ptr [0x20000], eax
    caught 6
    exit 0

.include "../catch64.inc"
