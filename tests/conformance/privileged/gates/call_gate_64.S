# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A 64-bit call gate has 16 bytes. A call from CPL 3 takes RSP0 from the TSS, pushes SS, RSP, CS and
# RIP of eight bytes each, and leaves SS null; nothing is copied.
#
# On KVM of host kind 3: check 0 fails, after vector 6 with error code 0: the call raises #UD at CPL
# 3.
#
# Source: Intel SDM vol. 3A §5.8.3.1 (IA-32e mode call gates), §5.8.5.1 (stack switching in 64-bit
# mode).

.include "../check64.inc"

CALL_GATE = EXTRA

    call catch_faults
    call use_own_gdt
    describe CALL_GATE, (service & 0xFFFF) + (CODE64_SELECTOR << 16) + (0xEC05 << 32) + ((service >> 16) << 48)
    describe CALL_GATE + 8, 0
    enter_user user
user:
    push 0x11
    .byte 0x48 # a far pointer with a 64-bit offset would be m16:64
    call far ptr [rip + pointer]
behind:
    equal rsp, USER_STACK_TOP - 8
    mov eax, cs
    equal eax, USER_CODE64_SELECTOR + 3
    exit 0

service:
    equal rsp, KERNEL_STACK_TOP - 32
    lea rax, [rip + behind]
    equal [rsp], rax
    equal qword ptr [rsp + 8], USER_CODE64_SELECTOR + 3
    equal qword ptr [rsp + 16], USER_STACK_TOP - 8
    equal qword ptr [rsp + 24], USER_DATA_SELECTOR + 3
    mov eax, ss
    equal eax, 0
    .byte 0x48, 0xCB # RETFQ

pointer:
    .quad 0
    .word CALL_GATE + 3

.include "../catch64.inc"
.include "../gdt64.inc"
