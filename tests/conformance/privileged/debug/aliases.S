# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# DR4 and DR5 are DR6 and DR7; with CR4.DE set they are #UD.
#
# Source: Intel SDM vol. 3B §17.2.2 (debug registers DR4 and DR5).

.include "../check64.inc"

    call catch_faults
    mov eax, 0x30000
    mov dr5, rax
    mov rbx, dr7
    and ebx, 0x30000
    equal ebx, 0x30000
    set_bits cr4, CR4_DE
    attempt
    mov rax, dr4
    caught 6
    attempt
    mov dr5, rax
    caught 6
    exit 0

.include "../catch64.inc"
