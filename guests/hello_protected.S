# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "Hello from protected mode\n"
# outcome = "exit"
# exit_code = 0
# exits = { PortOut = 27 }
# ///

# Hello from 32-bit protected mode: flat segments that span 4 GiB, no paging, CPL 0. pykvm has
# already built the descriptor table that the segment registers were loaded from; the guest
# mode_switch.S does it by itself.
#
# Source: Intel SDM vol. 3A §3.2.1 (basic flat model).

.include "macros.inc"

    mov esi, text
next:
    lodsb
    test al, al
    jz done
    out DEBUGCON_PORT, al
    jmp next
done:
    exit 0

text:
    .asciz "Hello from protected mode\n"
