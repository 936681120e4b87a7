# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# MONITOR and MWAIT are #UD at CPL 3, and #GP(0) for extensions that there are not.
#
# On KVM of host kind 3: it refuses `monitor` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2B, MONITOR, MWAIT.

.include "../check64.inc"

    call catch_faults
    mov eax, 0x20000
    xor edx, edx
    xor ecx, ecx
    monitor
    mov ecx, 0x80000000
    attempt
    monitor
    caught 13, 0
    attempt
    mwait
    caught 13, 0
    enter_user user
user:
    xor ecx, ecx
    attempt
    monitor
    caught 6
    attempt
    mwait
    caught 6
    exit 0

.include "../catch64.inc"
