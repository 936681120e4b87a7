# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# In virtual-8086 mode CLI, STI, PUSHF, POPF, INT n and IRET are #GP(0) unless IOPL is 3.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §20.2.8.1 (instructions that are sensitive to IOPL).

.include "../check32.inc"

    call catch_faults
.irp instruction, cli, sti, pushf, popf, int 0x30, iret
    attempt
    enter_vm86 1f, 2
.code16
1:
    \instruction
    hlt
.code32
    caught 13, 0
    equal dword ptr [caught_eip], 1b - 0x10000
.endr
    exit 0

.include "../catch32.inc"
