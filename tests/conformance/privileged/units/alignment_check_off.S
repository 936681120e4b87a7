# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Without CR0.AM RFLAGS.AC checks nothing.
#
# On KVM of host kind 3: check 0 fails, after vector 17 with error code 0: the check is on at CPL 3
# all the same.
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 17), §2.5 (CR0.AM).

.include "../check64.inc"

    call catch_faults
    clear_bits cr0, CR0_AM
    push USER_DATA_SELECTOR + 3
    push USER_STACK_TOP
    push 0x3002 + FLAG_AC
    push USER_CODE64_SELECTOR + 3
    lea rax, [rip + user]
    push rax
    iretq
user:
    mov eax, [0x20001]
    exit 0

.include "../catch64.inc"
