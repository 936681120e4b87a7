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

# Reserved bits of an x2APIC's registers are #GP(0).
#
# On KVM of host kind 3: check 1 fails: it takes reserved bits.
#
# Source: Intel SDM vol. 3A §10.12.1.3 (reserved bit checking), table 10-6.

.include "../check64.inc"

    call catch_faults
    mov ecx, 0x1B
    rdmsr
    or eax, 0xC00
    wrmsr
.macro refused register, value
    attempt
    write_msr \register, \value
    caught 13
.endm
    refused 0x80F, 0x8000013F # SVR
    refused 0x832, 0x00110030 + (1 << 20) # timer
    refused 0x837, 0x00030030 # error: bit 17
    refused 0x83E, 0x10 # divide configuration
    refused 0x830, 0x00200030 # ICR: bit 21
    exit 0

.include "../catch64.inc"
