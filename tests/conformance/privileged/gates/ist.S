# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A gate with an IST number takes that stack from the TSS, at the same level too.
#
# Source: Intel SDM vol. 3A §6.14.5 (interrupt stack table).

.include "../check64.inc"

IST_STACK_TOP = KERNEL_STACK_TOP - 0x8000

    call catch_faults
    mov qword ptr [TSS_IST1], IST_STACK_TOP
    mov byte ptr [rip + idt + 6 * 16 + 4], 1
    attempt
    ud2
    caught 6
    equal qword ptr [rip + handler_rsp], IST_STACK_TOP - 40
    exit 0

.include "../catch64.inc"
