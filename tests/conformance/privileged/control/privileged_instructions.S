# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# At CPL 3 the instructions of the system are #GP(0).
#
# Source: Intel SDM vol. 3A §5.9 (privileged instructions).

.include "../check64.inc"

    call catch_faults
    enter_user user
user:
    mov ecx, MSR_EFER
.irp instruction, hlt, clts, wbinvd, invd, rdmsr, wrmsr, invlpg [0x20000], lgdt [0x20000], lidt [0x20000], lldt ax, ltr ax, lmsw ax
    attempt
    \instruction
    caught 13, 0
.endr
    exit 0

.include "../catch64.inc"
