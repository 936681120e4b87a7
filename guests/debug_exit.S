# /// pykvm
# mode = "long"
# devices = ["exit"]
#
# [expect]
# output = ""
# outcome = "exit"
# exit_code = 7
# exits = { PortOut = 1 }
# ///

# The other exit port, by which the status is 2 * n + 1. Other hypervisors have it as
# `isa-debug-exit`; guests written for it run here as they are. The status is never 0, so success
# must be some other number that the guest and its caller agree on.
#
# Source: docs/devices/exit.md.

    mov al, 3
    out ISA_DEBUG_EXIT_PORT, al
