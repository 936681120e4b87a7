# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A return to an outer level takes the RPL from null selectors; their hidden bases stay.
#
# On KVM of host kind 3: it refuses `retfq` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, IRET (operation, RETURN-TO-OUTER-PRIVILEGE-LEVEL); vol. 2B, RET.

.include "../check64.inc"

# At CPL 3, by IRETQ or far RETQ, with that in FS and GS.
.macro outward selector, label, far=0
    mov eax, \selector
    mov fs, eax
    mov gs, eax
    write_msr MSR_FS_BASE, first
    write_msr MSR_GS_BASE, second
.if \far
    push USER_DATA_SELECTOR + 3
    push USER_STACK_TOP
    push USER_CODE64_SELECTOR + 3
    push offset \label
    .byte 0x48, 0xCB # retfq
.else
    enter_user \label
.endif
\label:
    mov eax, fs
    equal eax, 0
    mov eax, gs
    equal eax, 0
    xor ebx, ebx
    mov eax, fs:[rbx]
    equal eax, 0x11111111
    mov eax, gs:[rbx]
    equal eax, 0x22222222
    leave_user
.endm

    call catch_faults
    outward 0, of_rpl_0
    outward 3, of_rpl_3
    outward 2, of_rpl_2
    outward 1, of_rpl_1_by_ret, 1
    exit 0

first:
    .long 0x11111111
second:
    .long 0x22222222

.include "../catch64.inc"
