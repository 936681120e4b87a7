# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A call through a gate goes to the gate's segment and offset; the call's offset does not matter.
#
# On KVM of host kind 3: it refuses `lcall 0x60, 0x12345678` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §5.8.4 (accessing a code segment through a call gate).

.include "../check32.inc"

CALL_GATE = EXTRA

    call catch_faults
    gate_to CALL_GATE, service, CODE32_SELECTOR, GATE_32, 3
    mov esi, esp
    lcall CALL_GATE:0x12345678
behind:
    equal esp, esi
    exit 0

service:
    equal dword ptr [esp], behind
    equal dword ptr [esp + 4], CODE32_SELECTOR
    lea eax, [esp + 8] # nothing is copied within a level
    equal eax, esi
    retf

.include "../catch32.inc"
