# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SS needs a selector whose RPL, and a descriptor whose DPL, is the CPL.
#
# Source: Intel SDM vol. 3A §5.7 (privilege checking when loading SS).

.include "../check32.inc"

    call catch_faults
    mov ebx, USER_DATA_SELECTOR + 3
    attempt
    mov ss, ebx
    caught 13, USER_DATA_SELECTOR
    mov ebx, DATA_SELECTOR + 3
    attempt
    mov ss, ebx
    caught 13, DATA_SELECTOR
    exit 0

.include "../catch32.inc"
