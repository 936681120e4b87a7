# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# At CPL 0 too a data segment's DPL must not be below the RPL of its selector.
#
# Source: Intel SDM vol. 3A §5.6 (privilege checking when accessing data segments).

.include "../check32.inc"

    call catch_faults
    mov ebx, DATA_SELECTOR + 3
    attempt
    mov fs, ebx
    caught 13, DATA_SELECTOR
    mov ebx, USER_DATA_SELECTOR
    mov fs, ebx
    exit 0

.include "../catch32.inc"
