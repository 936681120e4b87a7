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

# CR8 holds bits 4 to 7 of the local APIC's TPR: each shows what was written to the other.
#
# Source: Intel SDM vol. 3A §10.8.6.1 (interaction of task priorities between CR8 and APIC).

.include "../check64.inc"

    call begin
    mov eax, 9
    mov cr8, rax
    equal dword ptr [LAPIC_TPR], 0x90
    mov dword ptr [LAPIC_TPR], 0x50
    mov rax, cr8
    equal eax, 5
    exit 0

.include "../catch64.inc"
.include "../lapic64.inc"
