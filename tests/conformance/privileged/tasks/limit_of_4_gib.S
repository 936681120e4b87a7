# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# The limit of a TSS may be as large as limits can be.
#
# On KVM of host kind 3: it refuses `ljmp 0x60:0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §7.2.2 (TSS descriptor: limit at least 67h, G flag).

.include "../check32.inc"

    call catch_faults
    call make_task
    mov word ptr [own_gdt + OTHER_TASK], 0xFFFF
    or byte ptr [own_gdt + OTHER_TASK + 6], 0x8F
    mov dword ptr [other_task + TASK_EIP], 1f
    ljmp OTHER_TASK:0
    jmp failed
1:
    str ax
    equal ax, OTHER_TASK
    exit 0

.include "../catch32.inc"
.include "../task32.inc"
