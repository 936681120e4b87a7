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

# Bits of IA32_APIC_BASE that are reserved are #GP(0); CPUID's APIC bit follows the enable bit.
#
# Source: Intel SDM vol. 3A §10.4.3, §10.4.4 (IA32_APIC_BASE MSR).

.include "../check64.inc"

    call catch_faults
    mov eax, 1
    cpuid
    bt edx, 9
    holds c
    mov ecx, 0x1B
    rdmsr
    or eax, 1
    attempt
    wrmsr
    caught 13, 0
    and eax, ~0x801
    wrmsr
    mov eax, 1
    cpuid
    bt edx, 9
    holds nc
    exit 0

.include "../catch64.inc"
