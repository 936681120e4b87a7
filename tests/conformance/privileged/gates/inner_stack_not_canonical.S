# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An RSP0 that is not canonical is #SS on the way to the handler, with EXT in the error code; here it comes by a
# gate that has a stack of its own.
#
# On KVM of host kind 3: check 1 fails, after vector 8 with error code 0: it makes a double fault of
# this.
#
# Source: Intel SDM vol. 3A §6.14.4 (stack switching in IA-32e mode); vol. 2A, INT n (64-bit
# exceptions).

.include "../check64.inc"

IST_STACK_TOP = KERNEL_STACK_TOP - 0x8000

    call catch_faults
    mov qword ptr [TSS_IST1], IST_STACK_TOP
    mov byte ptr [rip + idt + 12 * 16 + 4], 1
    mov byte ptr [rip + idt + 8 * 16 + 4], 1
    mov rax, 0x800000000000
    mov [TSS_RSP0], rax
    enter_user user
user:
    attempt
    ud2
    caught 12, 1
    exit 0

.include "../catch64.inc"
