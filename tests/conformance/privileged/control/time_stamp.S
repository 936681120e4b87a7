# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With CR4.TSD set RDTSC and RDTSCP are #GP(0) at CPL 3, and still work at CPL 0.
#
# On KVM of host kind 3: check 1 fails: RDTSC works at CPL 3.
#
# Source: Intel SDM vol. 3A §2.5 (CR4.TSD); vol. 2B, RDTSC.

.include "../check64.inc"

    call catch_faults
    set_bits cr4, CR4_TSD
    rdtsc
    enter_user user
user:
    attempt
    rdtsc
    caught 13, 0
    attempt
    rdtscp
    caught 13, 0
    leave_user
    clear_bits cr4, CR4_TSD
    enter_user again
again:
    rdtsc
    exit 0

.include "../catch64.inc"
