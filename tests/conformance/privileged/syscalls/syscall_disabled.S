# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SYSCALL and SYSRET are #UD while EFER.SCE is clear.
#
# On KVM of host kind 3: check 2 fails, after vector 13 with error code 16: SYSRET raises #GP.
#
# Source: Intel SDM vol. 2B, SYSCALL, SYSRET (64-bit mode exceptions).

.include "../check64.inc"

    call catch_faults
    attempt
    syscall
    caught 6
    attempt
    sysretq
    caught 6
    exit 0

.include "../catch64.inc"
