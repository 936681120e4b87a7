# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With IOPL 3 virtual-8086 code clears and sets IF itself; POPF leaves IOPL alone.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §20.2.8.1 (instructions that are sensitive to IOPL); vol. 2B, POPF.

.include "../check32.inc"

    call catch_faults
    attempt
    enter_vm86 1f, 0x3002
.code16
1:
    sti
    pushf
    pop ax
    cli
    pushf
    pop bx
    push 2
    popf
    pushf
    pop cx
2:
    hlt
.code32
    caught 13, 0
    equal dword ptr [caught_eip], 2b - 0x10000
    and eax, 0x3200
    equal eax, 0x3200
    and ebx, 0x3200
    equal ebx, 0x3000
    and ecx, 0x3200
    equal ecx, 0x3000
    exit 0

.include "../catch32.inc"
