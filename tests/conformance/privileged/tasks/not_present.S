# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A TSS that is not present is #NP with its selector; one that is too short, #TS.
#
# On KVM of host kind 3: it refuses `ljmp 0x60:0` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §7.3, table 7-1 (exception conditions of task switches).

.include "../check32.inc"

    call catch_faults
    call make_task
    and byte ptr [own_gdt + OTHER_TASK + 5], 0x7F
    attempt
    ljmp OTHER_TASK:0
    caught 11, OTHER_TASK
    call make_task
    mov word ptr [own_gdt + OTHER_TASK], 0x66
    attempt
    ljmp OTHER_TASK:0
    caught 10, OTHER_TASK
    exit 0

.include "../catch32.inc"
.include "../task32.inc"
