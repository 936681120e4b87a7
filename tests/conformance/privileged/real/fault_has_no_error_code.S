# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Exceptions of real mode push no error code.
#
# Source: Intel SDM vol. 3A §20.1.4; §6.13 (error code).

.include "../check16.inc"

    call catch_faults
    mov bx, 0xFFFF
    mov dx, sp
    attempt
1:
    mov ax, [bx]
    caught 13
    mov ax, dx
    sub ax, 6
    equal [handler_sp], ax
    equal word ptr [caught_ip], 1b
    exit 0

.include "../catch16.inc"
