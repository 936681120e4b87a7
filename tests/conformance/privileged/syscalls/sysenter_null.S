# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SYSENTER while IA32_SYSENTER_CS holds a null selector is #GP(0).
#
# On KVM of AMD's processors: SYSENTER is #UD in long mode (AMD APM vol. 3, SYSENTER).
#
# On KVM of host kind 3: check 1 fails, after vector 6 with error code 0: it raises #UD.
#
# Source: Intel SDM vol. 2B, SYSENTER (protected mode exceptions).

.include "../check64.inc"

    call catch_faults
    write_msr 0x174, 3
    enter_user user
user:
    attempt
    sysenter
    caught 13, 0
    exit 0

.include "../catch64.inc"
