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

# MOV to SS holds interrupts off until the instruction behind it is done; here STI holds them off
# until it.
#
# On KVM of host kind 3: check 1 fails: interrupts come later where CPL 0 is emulated.
#
# Source: Intel SDM vol. 3A §6.8.3 (masking exceptions and interrupts when switching stacks); vol.
# 2B, STI.

.include "../check64.inc"

    call begin
    send_self 0x30
    mov ecx, DATA_SELECTOR
    xor ebx, ebx
    sti
    mov ss, ecx
    inc ebx
    inc ebx
    equal dword ptr [rip + seen_ebx], 1
    exit 0

.include "../catch64.inc"
.include "../lapic64.inc"
