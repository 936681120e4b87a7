# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IST numbers go from 1 to 7, eight bytes apart in the TSS.
#
# Source: Intel SDM vol. 3A §6.14.5 (interrupt stack table), §7.7 (64-bit TSS).

.include "../check64.inc"

IST_STACK_TOP = KERNEL_STACK_TOP - 0x8000

    call catch_faults
    mov qword ptr [TSS_IST1 + 6 * 8], IST_STACK_TOP
    mov byte ptr [rip + idt + 6 * 16 + 4], 7
    enter_user user
user:
    attempt
    ud2
    caught 6
    equal qword ptr [rip + handler_rsp], IST_STACK_TOP - 40
    exit 0

.include "../catch64.inc"
