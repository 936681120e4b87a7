# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IA32_LSTAR and IA32_SYSENTER_EIP take no address that is not canonical; IA32_TSC_AUX no upper
# half.
#
# On KVM of AMD's processors: the MSRs of SYSENTER take any address (AMD APM vol. 2 §6.1.2).
#
# On KVM of host kind 3: check 3 fails, after vector 13 with error code 0: like AMD's processors, it
# takes any IA32_SYSENTER_ESP.
#
# Source: Intel SDM vol. 2B, WRMSR (exceptions); vol. 4, table 2-2.

.include "../check64.inc"

    call catch_faults
.irp index, MSR_LSTAR, 0xC0000083, 0x175, 0x176, MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE
    mov ecx, \index
    xor eax, eax
    mov edx, 0x1000000 # bit 56, with 5-level paging not canonical either
    attempt
    wrmsr
    caught 13, 0
.endr
    mov ecx, 0xC0000103
    attempt
    wrmsr
    caught 13, 0
    exit 0

.include "../catch64.inc"
