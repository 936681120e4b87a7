# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A data breakpoint on the stack is met by the pops of IRET.
#
# On KVM of host kind 3: check 1 fails: its emulator, which runs CPL 0, has no data breakpoints.
#
# Source: Intel SDM vol. 3B §17.2.4, §17.3.1.2 (data breakpoints).

.include "../check64.inc"

    call catch_faults
    mov rbx, rsp
    push DATA_SELECTOR
    push rbx
    push 2
    push CODE64_SELECTOR
    lea rax, [rip + 1f]
    push rax
    mov dr0, rsp
    mov eax, 0xF0001 # L0, loads and stores, 4 bytes
    mov dr7, rax
    attempt
    iretq
1:
    nop
    caught 1
    exit 0

.include "../catch64.inc"
