# /// pykvm
# mode = "real"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "INT 0x21 prints\n"
# outcome = "exit"
# exit_code = 0
# ///

# Interrupts in real mode, as a BIOS or DOS offers its services. The vector table at address 0
# holds an offset and a segment for each number; INT pushes FLAGS, CS and IP, IRET pops them. The
# guest installs a service of its own that prints the character in AL.
#
# Source: Intel SDM vol. 3B §20.1.4 (interrupt and exception handling in real-address mode).

.include "macros.inc"

SERVICE = 0x21
VECTOR_OFFSET = SERVICE * 4
VECTOR_SEGMENT = VECTOR_OFFSET + 2

    mov word ptr [VECTOR_OFFSET], service
    mov word ptr [VECTOR_SEGMENT], cs

    mov si, text
next:
    lodsb
    test al, al
    jz done
    int SERVICE
    jmp next
done:
    exit 0

service:
    out DEBUGCON_PORT, al
    iret

text:
    .asciz "INT 0x21 prints\n"
