# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# The RPL of a far jump's target must not be above the CPL, where the segment is nonconforming; the
# RPL in CS becomes the CPL all the same.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §5.8.1.1 (accessing nonconforming code segments).

.include "../check32.inc"

    call catch_faults
    attempt
    ljmp (CODE32_SELECTOR + 3):1f
1:
    caught 13, CODE32_SELECTOR
    enter_user32 user
user:
    ljmp USER_CODE32_SELECTOR:1f
1:
    mov eax, cs
    equal eax, USER_CODE32_SELECTOR + 3
    leave_user
    exit 0

.include "../catch32.inc"
