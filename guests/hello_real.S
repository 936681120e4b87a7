# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "Hello from real mode\n"
# outcome = "exit"
# exit_code = 0
# exits = { PortOut = 22 }
# ///

# Hello from real mode, where every x86 processor wakes up. The code is 16-bit, and an address is
# segment * 16 + offset; all segments are 0 here. Guests in this mode are loaded where a BIOS
# would put a boot sector, at 0x7C00.
#
# Source: Intel SDM vol. 3B §20.1 (real-address mode); vol. 2B, OUT.

.include "macros.inc"

    mov si, text
next:
    lodsb
    test al, al
    jz done
    out DEBUGCON_PORT, al
    jmp next
done:
    exit 0

text:
    .asciz "Hello from real mode\n"
