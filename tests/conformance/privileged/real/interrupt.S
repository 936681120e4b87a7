# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INT n in real mode pushes FLAGS, CS and IP, clears IF and TF, and goes where the vector table
# says; IRET goes back.
#
# Source: Intel SDM vol. 3A §20.1.4 (interrupt and exception handling); vol. 2A, INT n.

.include "../check16.inc"

    call catch_faults
    vector_to 0x30, handler
    mov bx, sp
    sti
    stc
    int 0x30
behind:
    holds c
    equal sp, bx
    pushf
    pop ax
    test ax, FLAG_IF
    holds nz
    cli
    exit 0

handler:
    pushf
    pop ax
    test ax, FLAG_IF
    holds z
    mov bp, sp
    equal word ptr [bp], behind
    equal word ptr [bp + 2], 0
    test word ptr [bp + 4], FLAG_IF
    holds nz
    iret

.include "../catch16.inc"
