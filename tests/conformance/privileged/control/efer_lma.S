# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# EFER.LMA is the processor's: what is written to it does not count. LME cannot change while paging
# is on.
#
# Source: Intel SDM vol. 3A §2.2.1 (extended feature enable register), table 2-1.

.include "../check64.inc"

    call catch_faults
    write_msr MSR_EFER, 0x100 # LME alone
    read_msr MSR_EFER
    equal eax, 0x500
    mov ecx, MSR_EFER
    xor eax, eax
    xor edx, edx
    attempt
    wrmsr
    caught 13, 0
    exit 0

.include "../catch64.inc"
