# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# LAR gives the access rights of descriptors that the program may see, and clears ZF for the others:
# beyond the table, null, of an inner level, gates of interrupts, reserved types.
#
# On KVM of host kind 3: it refuses `lar eax, ebx` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, LAR, table 3-53 (segment and gate types).

.include "../check32.inc"

CALL_GATE = EXTRA
INTERRUPT = EXTRA + 8
RESERVED = EXTRA + 16
RESERVED_8 = EXTRA + 24
TASK16 = EXTRA + 32

    call catch_faults
    gate_to CALL_GATE, 0x10000, CODE32_SELECTOR, GATE_32
    gate_to INTERRUPT, 0x10000, CODE32_SELECTOR, INTERRUPT_32
    describe RESERVED, 0, 0x00008A00
    describe RESERVED_8, 0, 0x00008800
    describe TASK16, 0x0000002B, 0x00008100
    mov ebx, DATA_SELECTOR
    lar eax, ebx
    holds z
    and eax, 0xF0FF00
    or eax, 0x100 # accessed or not
    equal eax, 0xC09300
    mov ebx, TASK
    lar eax, ebx
    holds z
    equal eax, 0x8B00 # busy
.irp selector, CALL_GATE, TASK16
    mov ebx, \selector
    lar eax, ebx
    holds z
.endr
    mov ecx, 5
.irp selector, 0, 0x100, INTERRUPT, RESERVED, RESERVED_8, DATA_SELECTOR + 3
    mov ebx, \selector
    lar ecx, ebx
    holds nz
.endr
    equal ecx, 5
    exit 0

.include "../catch32.inc"
