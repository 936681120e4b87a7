# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# In an expand-down segment all offsets above the limit are good, up to 64 KiB or with B set to 4
# GiB.
#
# Source: Intel SDM vol. 3A §5.3 (limit checking of expand-down segments).

.include "../check32.inc"

DOWN16 = EXTRA
DOWN32 = EXTRA + 8

    call catch_faults
    describe DOWN16, 0x0000FFF, 0x00009600
    describe DOWN32, 0x0000FFF, 0x00409600
    mov eax, DOWN16
    mov fs, eax
    mov al, fs:[0x1000]
    mov al, fs:[0xFFFF]
    attempt
    mov al, fs:[0xFFF]
    caught 13, 0
    attempt
    mov ax, fs:[0xFFFF]
    caught 13, 0
    mov eax, DOWN32
    mov fs, eax
    mov ax, fs:[0xFFFF]
    attempt
    mov eax, fs:[0xFFF]
    caught 13, 0
    exit 0

.include "../catch32.inc"
