# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# LSL gives the limit in bytes of segments that the program may see, and clears ZF for the others;
# gates have no limit.
#
# On KVM of host kind 3: it refuses `lsl eax, ebx` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, LSL, table 3-56 (segment and gate descriptor types).

.include "../check32.inc"

CALL_GATE = EXTRA
SMALL = EXTRA + 8
PAGES = EXTRA + 16
RESERVED_8 = EXTRA + 24

    call catch_faults
    gate_to CALL_GATE, 0x10000, CODE32_SELECTOR, GATE_32
    describe SMALL, 0x0001234, 0x00409200
    describe PAGES, 0x0000001, 0x00C09200
    describe RESERVED_8, 0x0000067, 0x00008800
    mov ebx, SMALL
    lsl eax, ebx
    holds z
    equal eax, 0x1234
    mov ebx, PAGES
    lsl eax, ebx
    holds z
    equal eax, 0x1FFF
    mov ebx, TASK
    lsl eax, ebx
    holds z
    equal eax, 0x67
    mov ecx, 5
.irp selector, 0, 0x100, CALL_GATE, RESERVED_8, SMALL + 3
    mov ebx, \selector
    lsl ecx, ebx
    holds nz
.endr
    equal ecx, 5
    exit 0

.include "../catch32.inc"
