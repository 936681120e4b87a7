# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# An exception at the same level pushes EFLAGS, CS and EIP, and an error code where there is one.
#
# Source: Intel SDM vol. 3A §6.12.1 (exception- and interrupt-handler procedures), figure 6-4.

.include "../check32.inc"

    call catch_faults
    mov ebx, 0x1000
    mov esi, esp
    attempt
1:
    mov fs, ebx
    caught 13, 0x1000
    lea eax, [esi - 12]
    equal [handler_esp], eax
    equal dword ptr [caught_eip], 1b
    equal dword ptr [caught_cs], CODE32_SELECTOR
    attempt
    ud2
    caught 6
    equal [handler_esp], eax
    exit 0

.include "../catch32.inc"
