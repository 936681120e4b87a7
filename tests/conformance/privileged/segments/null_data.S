# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A data segment register takes a null selector; using it is #GP(0).
#
# Source: Intel SDM vol. 3A §5.4.1 (null segment selector checking).

.include "../check32.inc"

    call catch_faults
    xor ebx, ebx
    mov fs, ebx
    attempt
    mov al, fs:[0x20000]
    caught 13, 0
    mov ebx, 3
    mov fs, ebx
    attempt
    mov fs:[0x20000], al
    caught 13, 0
    exit 0

.include "../catch32.inc"
