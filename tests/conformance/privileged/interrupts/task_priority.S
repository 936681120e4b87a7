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

# An interrupt of a class that is not above the task's priority waits until that is lowered.
#
# On KVM of host kind 3: check 2 fails: interrupts come later where CPL 0 is emulated.
#
# Source: Intel SDM vol. 3A §10.8.3.1 (task and processor priorities).

.include "../check64.inc"

    call begin
    mov eax, 3
    mov cr8, rax
    send_self 0x30
    sti
    nop
    nop
    equal dword ptr [rip + seen], 0
    mov eax, 2
    mov cr8, rax
    nop
    equal dword ptr [rip + seen], 1
    exit 0

.include "../catch64.inc"
.include "../lapic64.inc"
