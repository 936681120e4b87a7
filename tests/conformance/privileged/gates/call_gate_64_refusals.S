# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# The upper half of a 64-bit call gate has type 0, and the gate leads to 64-bit code: #GP else.
#
# On KVM of host kind 3: it refuses `call ptr [rip + 0xbf]` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §5.8.3.1 (IA-32e mode call gates).

.include "../check64.inc"

CALL_GATE = EXTRA
CALL_GATE_16 = EXTRA + 16

    call catch_faults
    call use_own_gdt
    describe CALL_GATE, (CODE64_SELECTOR << 16) + (0x8C00 << 32)
    describe CALL_GATE + 8, 0x1F00 << 32
    describe CALL_GATE_16, (CODE64_SELECTOR << 16) + (0x8400 << 32)
    attempt
    call far ptr [rip + pointer]
    caught 13, CALL_GATE
    attempt
    call far ptr [rip + pointer_16]
    caught 13, CALL_GATE_16
    describe CALL_GATE, (CODE32_SELECTOR << 16) + (0x8C00 << 32)
    describe CALL_GATE + 8, 0
    attempt
    call far ptr [rip + pointer]
    caught 13, CODE32_SELECTOR
    exit 0

pointer:
    .long 0
    .word CALL_GATE
pointer_16:
    .long 0
    .word CALL_GATE_16

.include "../catch64.inc"
.include "../gdt64.inc"
