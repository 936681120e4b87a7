# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# CPL 3 may read descriptor-table registers, unless CR4.UMIP is set: SGDT, SIDT, SLDT, STR and SMSW
# are #GP(0) then.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §2.5 (CR4.UMIP); vol. 2B, SGDT.

.include "../check32.inc"

    call catch_faults
    enter_user32 user
user:
    sgdt [scratch]
    sidt [scratch]
    sldt eax
    str eax
    smsw eax
    leave_user
    mov eax, cr4
    or eax, CR4_UMIP
    mov cr4, eax
    sgdt [scratch]
    enter_user32 again
again:
    attempt
    sgdt [scratch]
    caught 13, 0
    attempt
    sidt [scratch]
    caught 13, 0
    attempt
    sldt eax
    caught 13, 0
    attempt
    str eax
    caught 13, 0
    attempt
    smsw eax
    caught 13, 0
    leave_user
    exit 0

scratch:
    .zero 8

.include "../catch32.inc"
