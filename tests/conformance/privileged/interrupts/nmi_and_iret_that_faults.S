# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# irqchip = "full"
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An IRET that faults ends the blocking of NMIs too.
#
# On KVM of host kind 3: check 3 fails: NMIs come later where CPL 0 is emulated.
#
# Source: Intel SDM vol. 3A §6.7.1 (handling multiple NMIs).

.include "../check64.inc"

BAD = 0xF8

    call begin
    gate 2, on_nmi
    xor ebx, ebx
    send_nmi
    nop
    nop
    jmp failed

on_nmi:
    inc ebx
    cmp ebx, 1
    jne 1f
    send_nmi
    nop
    nop
    equal ebx, 1
    attempt
    push 0
    push KERNEL_STACK_TOP
    push 2
    push BAD
    push 0
    iretq
    caught 13, BAD
    equal ebx, 2
    exit 0
1:
    iretq

.include "../catch64.inc"
.include "../lapic64.inc"
