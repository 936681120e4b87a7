# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A segment register takes no system descriptor: #GP with the selector.
#
# Source: Intel SDM vol. 3A §5.4 (type checking); vol. 2B, MOV.

.include "../check32.inc"

    call catch_faults
    mov ebx, TASK
    attempt
    mov fs, ebx
    caught 13, TASK
    exit 0

.include "../catch32.inc"
