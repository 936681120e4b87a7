# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# RDFSBASE, WRFSBASE and those of GS are #UD unless CR4.FSGSBASE is set; then CPL 3 may use them. A
# base that is not canonical is #GP(0); with 32-bit operands the upper half becomes 0.
#
# On KVM of host kind 3: check 1 fails: RDFSBASE works while CR4.FSGSBASE is clear.
#
# Source: Intel SDM vol. 2B, RDFSBASE, WRFSBASE.

.include "../check64.inc"

    call catch_faults
    attempt
    rdfsbase rax
    caught 6
    set_bits cr4, CR4_FSGSBASE
    enter_user user
user:
    mov rbx, 0x123456789000
    wrfsbase rbx
    rdfsbase rax
    equal rax, rbx
    wrgsbase rbx
    rdgsbase ecx
    mov eax, 0x56789000
    equal rcx, rax
    wrfsbase ebx
    rdfsbase rcx
    equal rcx, rax
    mov rbx, 0x100000000000000
    attempt
    wrgsbase rbx
    caught 13, 0
    exit 0

.include "../catch64.inc"
