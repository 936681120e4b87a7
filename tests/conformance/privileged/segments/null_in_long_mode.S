# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# In 64-bit code null selectors can be used; SS can be null below CPL 3.
#
# Source: Intel SDM vol. 3A §3.4.4, §5.4.1.1 (null segment checking in 64-bit mode).

.include "../check64.inc"

    call catch_faults
    xor eax, eax
    mov ds, eax
    mov ss, eax
    mov eax, [0x20000]
    push rax
    enter_user user
user:
    xor ebx, ebx
    mov es, ebx
    attempt
    mov ss, ebx
    caught 13, 0
    exit 0

.include "../catch64.inc"
