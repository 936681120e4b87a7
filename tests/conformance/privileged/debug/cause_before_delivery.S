# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# DR6 says what caused the debug exception, even where its gate cannot be used.
#
# On KVM of host kind 3: check 1 fails, after vector 8 with error code 0: it makes a double fault of
# this.
#
# Source: Intel SDM vol. 3B §17.2.3 (DR6: conditions when the last debug exception was generated).

.include "../check64.inc"

    call catch_faults
    and byte ptr [rip + idt + 1 * 16 + 5], 0x7F
    pushfq
    or dword ptr [rsp], FLAG_TF
    attempt
    popfq
    nop
    caught 11, 1 * 8 + 2 + 1
    mov rax, dr6
    bt eax, 14
    holds c
    exit 0

.include "../catch64.inc"
