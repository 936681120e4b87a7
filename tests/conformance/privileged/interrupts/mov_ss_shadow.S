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

# MOV to SS holds interrupts off until the instruction behind it is done.
#
# On KVM of host kind 3: check 0 fails: interrupts come later where CPL 0 is emulated.
#
# Source: Intel SDM vol. 3A §6.8.3 (masking exceptions and interrupts when switching stacks).

.include "../check64.inc"

    call begin
    mov ecx, DATA_SELECTOR
    xor ebx, ebx
    sti
    nop
    mov dword ptr [LAPIC_TPR], 0xFF
    send_self 0x30
    mov edx, LAPIC_TPR
    xor eax, eax
    mov ss, ecx
    mov dword ptr [rdx], eax # lets it through, in the shadow
    inc ebx
    inc ebx
    mov eax, [rip + seen_ebx]
    cmp eax, 2
    holds be
    equal dword ptr [rip + seen], 1
    exit 0

.include "../catch64.inc"
.include "../lapic64.inc"
