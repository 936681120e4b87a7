# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A task switch switches local breakpoints off, and leaves global ones.
#
# On KVM of host kind 3: it refuses `ljmp 0x60:0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3B §17.2.4 (DR7, L0 through L3).

.include "../check32.inc"

    call catch_faults
    call make_task
    mov dword ptr [other_task + TASK_EIP], 1f
    mov eax, 0x300 + 1 + 8 # LE, GE, L0, G1
    mov dr7, eax
    ljmp OTHER_TASK:0
1:
    mov eax, dr7
    and eax, 0xFF
    equal eax, 8
    exit 0

.include "../catch32.inc"
.include "../task32.inc"
