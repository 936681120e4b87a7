# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A 16-bit gate in the IDT pushes words.
#
# On KVM of host kind 3: it refuses `int 0x30` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.11 (IDT descriptors), §21.5 (mixing 16-bit and 32-bit code).

.include "../check32.inc"

LOW_CODE = EXTRA

    call catch_faults
    describe LOW_CODE, 0x0000FFFF, 0x00CF9A01 # base 0x10000, where this guest is
    vector_to 0x30, handler - 0x10000, 0x86, LOW_CODE
    mov esi, esp
    ljmp LOW_CODE:(1f - 0x10000)
1:
    int 0x30
behind:
    equal esp, esi
    ljmp CODE32_SELECTOR:2f
2:
    exit 0

handler:
    equal word ptr [esp], behind - 0x10000
    equal word ptr [esp + 2], LOW_CODE
    lea eax, [esp + 6]
    equal eax, esi
    .byte 0x66, 0xCF # IRET with words

.include "../catch32.inc"
