# /// pykvm
# mode = "user"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "Hello from CPL 3\n"
# outcome = "exit"
# exit_code = 0
# exits = { PortOut = 18 }
# ///

# Hello from 64-bit code at CPL 3, where programs live. OUT works there because pykvm enters this
# mode with IOPL 3 and a permission bitmap that allows every port; HLT would not, so the guest
# ends by its exit port. On hosts without VT-x and AMD-V this is the mode that runs at full speed.
#
# Source: Intel SDM vol. 1 §19.5 (protected-mode I/O).

.include "macros.inc"

    lea rsi, [rip + text]
next:
    lodsb
    test al, al
    jz done
    out DEBUGCON_PORT, al
    jmp next
done:
    exit 0

text:
    .asciz "Hello from CPL 3\n"
