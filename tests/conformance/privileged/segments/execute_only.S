# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A code segment without R cannot be read through CS: #GP(0); and no data segment register takes it.
#
# Source: Intel SDM vol. 3A §5.4 (type checking).

.include "../check32.inc"

EXECUTE_ONLY = EXTRA

    call catch_faults
    describe EXECUTE_ONLY, 0x0000FFFF, 0x00CF9800
    mov ebx, EXECUTE_ONLY
    attempt
    mov fs, ebx
    caught 13, EXECUTE_ONLY
    ljmp EXECUTE_ONLY:1f
1:
    attempt
    mov eax, cs:[0x20000]
    caught 13, 0
    exit 0

.include "../catch32.inc"
