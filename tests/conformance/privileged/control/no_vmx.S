# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# CR4.VMXE is reserved on a processor without VMX: #GP(0).
#
# Source: Intel SDM vol. 2B, MOV to control registers; vol. 3C §23.7.

.include "../check64.inc"

    call catch_faults
    mov eax, 1
    cpuid
    bt ecx, 5
    holds nc
    mov rbx, cr4
    bts rbx, 13
    attempt
    mov cr4, rbx
    caught 13, 0
    exit 0

.include "../catch64.inc"
