# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A handler of virtual-8086 code must be at CPL 0: #GP with the selector of a segment of level 1.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §20.3.1.1 (handling through a protected-mode gate); vol. 2A, INT n.

.include "../check32.inc"

CODE1 = EXTRA
DATA1 = EXTRA + 8

    call catch_faults
    describe CODE1, 0x0000FFFF, 0x00CFBA00
    describe DATA1, 0x0000FFFF, 0x00CFB200
    mov dword ptr [task + 12], KERNEL_STACK_TOP - 0x800
    mov dword ptr [task + 16], DATA1 + 1
    vector_to 0x30, 0x10000, INTERRUPT_USER_32, CODE1
    attempt
    enter_vm86 1f, 0x3002
.code16
1:
    int 0x30
.code32
    caught 13, CODE1
    exit 0

.include "../catch32.inc"
