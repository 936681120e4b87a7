# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An x87 exception that is not masked is #MF at the next instruction that waits, not before.
#
# On KVM of host kind 3: it refuses `fldcw word ptr [0x20000]` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 16); vol. 1 §8.6 (x87 FPU exception handling).

.include "../check64.inc"

    call catch_faults
    fninit
    mov word ptr [0x20000], 0x37B # division by zero is not masked
    fldcw [0x20000]
    fld1
    fldz
    fdivp st(1), st
    nop
    attempt
    wait
    caught 16
    fnclex
    wait
    exit 0

.include "../catch64.inc"
