# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A code segment cannot be written to, by CS or by another segment register; with R it can be read.
#
# Source: Intel SDM vol. 3A §5.4 (type checking).

.include "../check32.inc"

    call catch_faults
    mov eax, CODE32_SELECTOR
    mov fs, eax
    mov eax, fs:[0x20000]
    attempt
    mov fs:[0x20000], eax
    caught 13, 0
    attempt
    mov cs:[0x20000], eax
    caught 13, 0
    exit 0

.include "../catch32.inc"
