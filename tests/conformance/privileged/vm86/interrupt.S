# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INT n with IOPL 3 goes through the IDT to CPL 0, if the gate's DPL is 3; IRET goes back.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §20.3.1 (class 1 interrupts); vol. 2A, INT n.

.include "../check32.inc"

    call catch_faults
    vector_to 0x30, handler, INTERRUPT_USER_32
    vector_to 0x31, handler, INTERRUPT_32
    attempt
    enter_vm86 1f, 0x3002
.code16
1:
    int 0x30
    int 0x31
.code32
    caught 13, 0x31 * 8 + 2
    equal ebx, 0x5678
    exit 0

handler:
    mov ebx, 0x5678
    iretd

.include "../catch32.inc"
