# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Debug registers are CPL 0's: #GP(0).
#
# Source: Intel SDM vol. 2B, MOV to and from debug registers.

.include "../check64.inc"

    call catch_faults
    enter_user user
user:
    attempt
    mov rax, dr7
    caught 13, 0
    attempt
    mov dr0, rax
    caught 13, 0
    exit 0

.include "../catch64.inc"
