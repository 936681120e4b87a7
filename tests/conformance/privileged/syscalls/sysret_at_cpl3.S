# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SYSRET at CPL 3 is #GP(0).
#
# Source: Intel SDM vol. 2B, SYSRET (64-bit mode exceptions).

.include "../check64.inc"

    call catch_faults
    write_msr MSR_EFER, 0x500 + EFER_SCE # LME, LMA
    enter_user user
user:
    attempt
    sysretq
    caught 13, 0
    exit 0

.include "../catch64.inc"
