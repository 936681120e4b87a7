# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An exception on the way to the handler of a benign one is handled by itself; EXT is set in its
# error code, as the program did not ask for it.
#
# On KVM of host kind 3: check 1 fails, after vector 8 with error code 0: it makes a double fault of
# this.
#
# Source: Intel SDM vol. 3A §6.13 (error code), §6.15 (interrupt 8), table 6-5.

.include "../check64.inc"

    call catch_faults
    mov dword ptr [rip + idt + 6 * 16 + 4], 0 # the gate of #UD is no gate
    attempt
    ud2
    caught 13, 6 * 8 + 2 + 1
    exit 0

.include "../catch64.inc"
