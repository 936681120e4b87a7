# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# CPUID works at CPL 3.
#
# Source: Intel SDM vol. 2A, CPUID; vol. 3A §5.9.

.include "../check64.inc"

    call catch_faults
    enter_user user
user:
    xor eax, eax
    cpuid
    cmp eax, 1
    holds ae
    exit 0

.include "../catch64.inc"
