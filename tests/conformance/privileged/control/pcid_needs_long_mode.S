# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# CR4.PCIDE cannot be set outside long mode: #GP(0).
#
# Source: Intel SDM vol. 3A §4.10.1 (PCIDs); vol. 2B, MOV to control registers.

.include "../check32.inc"

    call catch_faults
    mov ebx, cr4
    or ebx, 1 << 17
    attempt
    mov cr4, ebx
    caught 13, 0
    exit 0

.include "../catch32.inc"
