# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Address bits above what the processor has are reserved in entries: #PF with P and RSVD. In an
# entry that is not present nothing is reserved.
#
# Source: Intel SDM vol. 3A §4.5.4 (entry formats), §4.7 (RSVD flag); vol. 2A, CPUID leaf 80000008H.

.include "../check64.inc"

    call catch_faults
    call open_window
    mov eax, 0x80000008
    cpuid
    movzx ecx, al
    cmp ecx, 52
    je done # a processor with all of them
    mov eax, 1
    shl rax, 51
    mov rbx, rax
    map_window 0
    mov [WINDOW_PT], rbx
    attempt
    mov al, [WINDOW]
    caught 14, 0
    or rbx, PTE_P + PTE_W
    mov [WINDOW_PT], rbx
    invlpg [WINDOW]
    attempt
    mov [WINDOW], al
    caught 14, PF_P + PF_RSVD + PF_W
done:
    exit 0

.include "../catch64.inc"
.include "../paging64.inc"
