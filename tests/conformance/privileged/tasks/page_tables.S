# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A task switch loads CR3 from the TSS while paging is on, and in PAE paging the four pointers with
# it.
#
# On KVM of host kind 3: check 0 fails, after vector 13 with error code 0: paging cannot be switched
# on outside long mode.
#
# Source: Intel SDM vol. 3A §7.3 (task switching), §4.4.1 (PDPTE registers).

.include "../check32.inc"

OTHER_POINTERS = 0x206000

    call catch_faults
    call use_pae
    mov dword ptr [OTHER_POINTERS], PAE_DIRECTORY + PTE_P
    call make_task
    mov dword ptr [other_task + 28], OTHER_POINTERS
    mov dword ptr [other_task + TASK_EIP], 1f
    mov al, [WINDOW]
    ljmp OTHER_TASK:0
1:
    mov eax, cr3
    equal eax, OTHER_POINTERS
    attempt
    mov al, [WINDOW]
    caught 14, 0
    exit 0

.include "../catch32.inc"
.include "../task32.inc"
.include "../paging32.inc"
