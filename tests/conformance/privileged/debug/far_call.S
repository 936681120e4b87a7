# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A data breakpoint on the stack is met by the pushes of a far call as by any other.
#
# On KVM of host kind 3: check 1 fails: its emulator, which runs CPL 0, has no data breakpoints.
#
# Source: Intel SDM vol. 3B §17.2.4, §17.3.1.2 (data breakpoints).

.include "../check64.inc"

    call catch_faults
    lea rax, [rsp - 8]
    mov dr0, rax
    mov eax, 0xD0001 # L0, stores, 4 bytes
    mov dr7, rax
    attempt
    push 0
    caught 1
    attempt
    .byte 0x48 # REX.W
    lcall [rip + target]
1:
    caught 1
    attempt
    lcall [rip + target32]
1:
    caught 1
    exit 0

target32:
    .long 1b
    .word CODE64_SELECTOR
    .balign 8
target:
    .quad 1b
    .word CODE64_SELECTOR

.include "../catch64.inc"
