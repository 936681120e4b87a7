# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IA32_PAT takes the memory types 0, 1, 4, 5, 6 and 7 only: #GP(0).
#
# On KVM of host kind 3: check 3 fails: it takes memory type 2.
#
# Source: Intel SDM vol. 3A §11.12.2 (IA32_PAT MSR), table 11-10.

.include "../check64.inc"

    call catch_faults
    write_msr MSR_PAT, 0x0001040506070406
    read_msr MSR_PAT
    equal eax, 0x06070406
    equal edx, 0x00010405
.irp type, 2, 3, 8
    mov ecx, MSR_PAT
    mov eax, 0x06070406
    mov edx, \type << 24
    attempt
    wrmsr
    caught 13, 0
.endr
    exit 0

.include "../catch64.inc"
