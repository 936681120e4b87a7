# /// pykvm
# mode = "long"
# float = true
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "port ffffffff, memory ffffffff\n"
# outcome = "exit"
# exit_code = 0
# exits = { PortIn = 3, MmioRead = 1, MmioWrite = 1 }
# ///

# Where nobody answers, a PC's bus floats: reads give all ones, and writes are lost. That is how a
# driver finds out that a device is missing. pykvm does the same only where it is told to;
# otherwise an access that no device claims ends the run.
#
# Source: PCI Local Bus Specification 3.0 §3.3.3.1 (master-abort: all ones on a read).

.include "macros.inc"

NOBODY_PORT = 0x2E8
NOBODY_BASE = SCRATCH_BASE # this machine has no scratch device

    mov dx, NOBODY_PORT
    in al, dx
    cmp al, 0xFF
    jne wrong
    in ax, dx
    cmp ax, 0xFFFF
    jne wrong

    print port_text
    mov dx, NOBODY_PORT
    in eax, dx
    call print_hex
    print memory_text
    mov ebx, NOBODY_BASE
    mov dword ptr [rbx], 5
    mov eax, dword ptr [rbx]
    call print_hex
    print newline
    exit 0
wrong:
    exit 1

.include "print64.inc"

port_text:
    .asciz "port "
memory_text:
    .asciz ", memory "
newline:
    .asciz "\n"
