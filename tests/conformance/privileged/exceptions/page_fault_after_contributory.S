# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A page fault on the way to the handler of a contributory exception is handled as a page fault.
#
# On KVM of host kind 3: check 1 fails, after vector 8 with error code 0: it makes a double fault of
# this.
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 8), table 6-5.

.include "../check64.inc"

    call catch_faults
    mov rax, 0x700000000000 # IST1 is not mapped
    mov [TSS_IST1], rax
    mov byte ptr [rip + idt + 13 * 16 + 4], 1 # the gate of #GP uses it
    mov ebx, 0x1000
    attempt
    mov fs, ebx
    caught 14, 2
    exit 0

.include "../catch64.inc"
