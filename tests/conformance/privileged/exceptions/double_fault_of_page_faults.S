# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# A page fault on the way to the handler of a page fault is #DF; so is a contributory exception.
#
# On KVM of host kind 3: check 3 fails, after vector 8 with error code 0: CR2 is not the second
# one's.
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 8), table 6-5.

.include "../check64.inc"

    call catch_faults
    mov rbx, 0x700000000000
    mov dword ptr [rip + idt + 14 * 16 + 4], 0 # the gate of #PF is not present: #NP
    attempt
    mov al, [rbx]
    caught 8, 0
    mov qword ptr [PD_BASE + 8], 0 # the table's page is not mapped from here on
    lea rsi, [rip + idt]
    mov edi, 0x1FF000 + 0x1000 - 14 * 16 # so that vectors below 14 lie before it
    mov ecx, 14 * 2
    rep movsq
    lidt [rip + split_idt]
    mov rax, cr3
    mov cr3, rax
    attempt
    mov al, [rbx]
    caught 8, 0
    mov eax, 0x200000
    equal [rip + caught_cr2], rax # of the second page fault
    exit 0

split_idt:
    .word 0x3FF
    .quad 0x200000 - 14 * 16

.include "../catch64.inc"
