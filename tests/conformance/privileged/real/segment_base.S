# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A segment begins at 16 times its selector; above FFFF0H addresses go on beyond 1 MiB.
#
# Source: Intel SDM vol. 3A §20.1.1 (address translation in real-address mode).

.include "../check16.inc"

    call catch_faults
    mov ax, 0x1000
    mov es, ax
    mov dword ptr es:[0x10], 0x1234
    mov ax, 0x1001
    mov es, ax
    equal dword ptr es:[0], 0x1234
    mov ax, 0xFFFF
    mov es, ax
    mov dword ptr es:[0x10], 0x5678 # 0x100000
    mov dword ptr [0], 0
    equal dword ptr es:[0x10], 0x5678
    exit 0

.include "../catch16.inc"
