# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# BOUND is #BR, a fault, where the index is below the lower bound or above the upper one.
#
# On KVM of host kind 3: it refuses `bound eax, qword ptr [0x100b8]` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, BOUND; vol. 3A §6.15 (interrupt 5).

.include "../check32.inc"

    call catch_faults
    mov eax, -3
    bound eax, [bounds]
    mov eax, 5
    bound eax, [bounds]
    mov eax, 6
    attempt
1:
    bound eax, [bounds]
    caught 5
    equal dword ptr [caught_eip], 1b
    mov eax, -4
    attempt
    bound eax, [bounds]
    caught 5
    exit 0

bounds:
    .long -3, 5

.include "../catch32.inc"
