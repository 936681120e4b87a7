# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A gate of 16 bits pushes words and has an offset of 16 bits.
#
# On KVM of host kind 3: it refuses `lcall 0x60, 0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §5.8.3 (call gates), §21.5 (mixing 16-bit and 32-bit code).

.include "../check32.inc"

CALL_GATE = EXTRA
LOW_CODE = EXTRA + 8

    call catch_faults
    describe LOW_CODE, 0x0000FFFF, 0x00CF9A01 # base 0x10000, where this guest is
    gate_to CALL_GATE, service - 0x10000, LOW_CODE, 0x84
    mov esi, esp
    ljmp LOW_CODE:(1f - 0x10000)
1:
    lcall CALL_GATE:0
behind:
    equal esp, esi
    ljmp CODE32_SELECTOR:2f
2:
    exit 0

service:
    equal word ptr [esp], behind - 0x10000
    equal word ptr [esp + 2], LOW_CODE
    lea eax, [esp + 4]
    equal eax, esi
    .byte 0x66, 0xCB # RETF with words

.include "../catch32.inc"
