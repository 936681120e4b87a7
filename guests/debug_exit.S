# /// pykvm
# mode = "long"
#
# [expect]
# output = ""
# outcome = "exit"
# exit_code = 7
# exits = { PortOut = 1 }
# ///

# The other exit port, which other hypervisors have as `isa-debug-exit`: a guest that writes n
# there ends with status 2 * n + 1, never 0. Guests written for it run here as they are.
#
# Source: docs/devices.md, exit ports.

    mov al, 3
    out ISA_DEBUG_EXIT_PORT, al
