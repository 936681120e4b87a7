# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A task gate's TSS that is busy, not present or too short: EXT is set for an exception, clear for
# INT n.
#
# On KVM of host kind 3: it refuses `int 6` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, INT n (task gate); vol. 3A §6.13 (error code).

.include "../check32.inc"

    call catch_faults
    call make_task
    mov dword ptr [idt32 + 8 * 6], TASK << 16 # the current task: busy
    mov dword ptr [idt32 + 8 * 6 + 4], TASK_GATE << 8
    attempt
    int 6
    caught 13, TASK
    attempt
    ud2
    caught 13, TASK + 1
    mov dword ptr [idt32 + 8 * 6], OTHER_TASK << 16
    mov byte ptr [own_gdt + OTHER_TASK], 0x66
    attempt
    ud2
    caught 10, OTHER_TASK + 1
    and byte ptr [own_gdt + OTHER_TASK + 5], 0x7F
    attempt
    ud2
    caught 11, OTHER_TASK + 1
    exit 0

.include "../catch32.inc"
.include "../task32.inc"
