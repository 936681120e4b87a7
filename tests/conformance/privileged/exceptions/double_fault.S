# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A contributory exception on the way to the handler of another is #DF with error code 0.
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 8), table 6-5.

.include "../check64.inc"

    call catch_faults
    mov dword ptr [rip + idt + 13 * 16 + 4], 0 # the gate of #GP is not present
    mov ebx, 0x1000
    attempt
    mov fs, ebx
    caught 8, 0
    exit 0

.include "../catch64.inc"
