# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Bits of CR3 above the processor's physical addresses are reserved.
#
# Source: Intel SDM vol. 2B, MOV to control registers (exceptions); vol. 3A §4.5.

.include "../check64.inc"

    call catch_faults
    mov eax, 0x80000008
    cpuid
    movzx eax, al
    cmp eax, 52
    je done # a processor with all of them
    mov rbx, PML4_BASE
    bts rbx, 51
    attempt
    mov cr3, rbx
    caught 13, 0
done:
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
