# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SWAPGS exchanges the base of GS with IA32_KERNEL_GS_BASE.
#
# Source: Intel SDM vol. 2B, SWAPGS.

.include "../check64.inc"

    call catch_faults
    write_msr MSR_GS_BASE, first
    write_msr MSR_KERNEL_GS_BASE, second
    equal byte ptr gs:[0], 1
    swapgs
    equal byte ptr gs:[0], 2
    read_msr MSR_KERNEL_GS_BASE
    lea rbx, [rip + first]
    equal eax, ebx
    swapgs
    equal byte ptr gs:[0], 1
    exit 0

first:
    .byte 1
second:
    .byte 2

.include "../catch64.inc"
