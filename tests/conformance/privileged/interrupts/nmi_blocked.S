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

# An NMI during the handler of another one waits until IRET.
#
# On KVM of host kind 3: check 1 fails: NMIs come later where CPL 0 is emulated.
#
# Source: Intel SDM vol. 3A §6.7.1 (handling multiple NMIs).

.include "../check64.inc"

    call begin
    gate 2, on_nmi
    xor ebx, ebx
    xor ebp, ebp
    send_nmi
    nop
    nop
    equal ebx, 2
    equal ebp, 1 # the deepest that handlers were nested
    exit 0

on_nmi:
    inc ebx
    inc dword ptr [rip + depth]
    cmp ebp, [rip + depth]
    jae 1f
    mov ebp, [rip + depth]
1:
    cmp ebx, 1
    jne 2f
    send_nmi
    nop
    nop
2:
    dec dword ptr [rip + depth]
    iretq

depth:
    .long 0

.include "../catch64.inc"
.include "../lapic64.inc"
