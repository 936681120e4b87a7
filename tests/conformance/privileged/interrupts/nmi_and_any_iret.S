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

# Any IRET ends the blocking of NMIs, one of an exception inside the handler too.
#
# On KVM of host kind 3: it refuses `int 0x31` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.7.1 (handling multiple NMIs).

.include "../check64.inc"

    call begin
    gate 2, on_nmi
    gate 0x31, on_interrupt
    xor ebx, ebx
    send_nmi
    nop
    nop
    equal ebx, 2
    equal dword ptr [rip + seen_inside], 2
    exit 0

on_nmi:
    inc ebx
    cmp ebx, 1
    jne 1f
    send_nmi
    nop
    int 0x31
    nop
    mov [rip + seen_inside], ebx # the second one has come within the first
1:
    iretq
on_interrupt:
    iretq

seen_inside:
    .long 0

.include "../catch64.inc"
.include "../lapic64.inc"
