# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A stack that is not canonical is #SS with EXT in the error code, for an exception.
#
# On KVM of host kind 3: check 1 fails, after vector 8 with error code 0: it makes a double fault of
# this.
#
# Source: Intel SDM vol. 2A, INT n (64-bit gate: #SS(EXT)); vol. 3A §6.13 (error code).

.include "../check64.inc"

    call catch_faults
    mov rax, 0x8000000000000000
    mov [TSS_IST1], rax
    mov byte ptr [rip + idt + 6 * 16 + 4], 1
    attempt
    ud2
    caught 12, 1
    exit 0

.include "../catch64.inc"
