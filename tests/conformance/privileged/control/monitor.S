# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# MONITOR and MWAIT are #UD where CPUID does not report them, and at CPL 3; for extensions that there are
# not they are #GP(0).
#
# On KVM of host kind 3: it refuses `monitor` (internal error, suberror 1).
#
# On KVM of AMD's processors: they do nothing where CPUID does not report them, as on Intel's.
# On KVM of host kind 1: they do nothing where CPUID does not report them.
# On KVM of host kind 2: they do nothing where CPUID does not report them.
#
# Source: Intel SDM vol. 2B, MONITOR, MWAIT.

.include "../check64.inc"

    call catch_faults
    mov eax, 1
    cpuid
    bt ecx, 3
    jnc absent
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
absent:
    attempt
    monitor
    caught 6
    attempt
    mwait
    caught 6
    exit 0

.include "../catch64.inc"
