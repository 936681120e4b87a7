# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# With CR0.AM and RFLAGS.AC set a misaligned access at CPL 3 is #AC(0); at CPL 0 it is not.
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 17).

.include "../check64.inc"

    call catch_faults
    set_bits cr0, CR0_AM
    push FLAG_AC + 2
    popfq
    mov eax, [0x20001]
    push USER_DATA_SELECTOR + 3
    push USER_STACK_TOP
    push 0x3002 + FLAG_AC
    push USER_CODE64_SELECTOR + 3
    lea rax, [rip + user]
    push rax
    iretq
user:
    mov eax, [0x20000]
    mov al, [0x20001]
    attempt
    mov eax, [0x20001]
    caught 17, 0
    attempt
    mov [0x20001], ax
    caught 17, 0
    exit 0

.include "../catch64.inc"
