# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "5 instructions were stepped\n"
# outcome = "exit"
# exit_code = 0
# ///

# How a debugger steps: while the trap flag is set, every instruction ends in exception 1. The
# handler counts. The flag is part of RFLAGS, and the exception's frame holds it, so that the
# handler itself is not stepped; POPF that clears it is the last instruction to be.
#
# Source: Intel SDM vol. 3B §17.3.1.4 (single-step exception condition).

.include "macros.inc"

TRAP_FLAG = 8 # its bit in RFLAGS

    gate 1, step
    call load_idt
    xor ebx, ebx

    pushfq
    bts qword ptr [rsp], TRAP_FLAG
    popfq # traps from the next instruction on
    nop
    nop
    pushfq
    btr qword ptr [rsp], TRAP_FLAG
    popfq

    mov eax, ebx
    call print_decimal
    print text
    exit 0

step:
    inc ebx
    iretq

.include "print64.inc"
.include "idt64.inc"

text:
    .asciz " instructions were stepped\n"
