# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "shutdown"
# ///

# An exception on the way to the handler of #DF shuts the processor down.
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 8).

.include "../check64.inc"

    call catch_faults
    mov dword ptr [rip + idt + 13 * 16 + 4], 0 # neither #GP nor #DF has a gate
    mov dword ptr [rip + idt + 8 * 16 + 4], 0
    mov ebx, 0x1000
    mov fs, ebx
    exit 0

.include "../catch64.inc"
