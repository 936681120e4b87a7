# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A TSS without room for the inner stack is #TS with its selector, and EXT for an exception.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §6.13 (error code); vol. 2A, INT n (inter-privilege-level interrupt).

.include "../check32.inc"

CODE1 = EXTRA

    call catch_faults
    describe CODE1, 0x0000FFFF, 0x00CFBA00
    vector_to 6, 0x10000, INTERRUPT_32, CODE1
    mov byte ptr [own_gdt + TASK + 5], 0x89
    mov word ptr [own_gdt + TASK], 16 # ESP1 is there, SS1 is not
    mov eax, TASK
    ltr ax
    enter_user32 user
user:
    attempt
    ud2
    caught 10, TASK + 1
    leave_user
    exit 0

.include "../catch32.inc"
