# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IA32_FS_BASE and IA32_GS_BASE are the bases of FS and GS; a selector loaded takes the
# descriptor's.
#
# Source: Intel SDM vol. 3A §3.4.4 (segment loading in IA-32e mode).

.include "../check64.inc"

    call catch_faults
    write_msr MSR_FS_BASE, value - 16
    equal byte ptr fs:[16], 7
    mov eax, DATA_SELECTOR
    mov fs, eax
    read_msr MSR_FS_BASE
    equal eax, 0
    equal edx, 0
    exit 0

value:
    .byte 7

.include "../catch64.inc"
