# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IRET to an outer level nulls data segment registers whose DPL is below the new CPL; the others
# stay.
#
# On KVM of host kind 3: check 3 fails: the segments stay.
#
# Source: Intel SDM vol. 2A, IRET (operation, RETURN-TO-OUTER-PRIVILEGE-LEVEL).

.include "../check64.inc"

    call catch_faults
    mov eax, DATA_SELECTOR
    mov ds, eax
    mov fs, eax
    mov eax, USER_DATA_SELECTOR + 3
    mov es, eax
    enter_user user
user:
    mov eax, ds
    equal eax, 0
    mov eax, fs
    equal eax, 0
    mov eax, es
    equal eax, USER_DATA_SELECTOR + 3
    exit 0

.include "../catch64.inc"
