# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INTO is interrupt 4 if OF is set, and nothing else.
#
# On KVM of host kind 3: it refuses `into` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, INT n/INTO/INT3/INT1; vol. 3A §6.15 (interrupt 4).

.include "../check32.inc"

    call catch_faults
    xor eax, eax
    into
    mov al, 0x7F
    mov dword ptr [resume_eip], 1f
    mov [resume_esp], esp
    add al, 1
    into
2:
    jmp failed
1:
    equal dword ptr [caught_vector], 4
    equal dword ptr [caught_eip], 2b
    exit 0

.include "../catch32.inc"
