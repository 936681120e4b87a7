# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With B clear in SS pushes use SP: it wraps at 64 KiB, and the upper half of ESP stays.
#
# Source: Intel SDM vol. 3A §3.4.5 (D/B flag); vol. 1 §6.2.3 (address-size attribute for stack).

.include "../check32.inc"

STACK16 = EXTRA

    call catch_faults
    describe STACK16, 0x0000FFFF, 0x00009207 # base 0x70000
    mov eax, STACK16
    mov ss, eax
    mov esp, 0x12340000
    push 0x5678
    mov ebx, esp
    mov ecx, [0x7FFFC]
    mov eax, DATA_SELECTOR
    mov ss, eax
    mov esp, KERNEL_STACK_TOP - 0x1000
    equal ebx, 0x1234FFFC
    equal ecx, 0x5678
    exit 0

.include "../catch32.inc"
