# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# In long mode the frame of an exception is aligned to 16 bytes, whatever RSP was; an error code is
# eight bytes more.
#
# Source: Intel SDM vol. 3A §6.14.2 (64-bit mode stack frame).

.include "../check64.inc"

    call catch_faults
    lea rsp, [rsp - 3]
    mov rbx, rsp
    attempt
    ud2
    caught 6
    mov rax, rbx
    and rax, ~15
    sub rax, 40
    equal [rip + handler_rsp], rax
    equal [rip + caught_rsp], rbx
    mov ecx, 0x1000
    attempt
    mov fs, ecx
    caught 13, 0x1000
    equal [rip + handler_rsp], rax
    exit 0

.include "../catch64.inc"
