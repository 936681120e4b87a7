# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# ARPL raises the RPL of a selector to another's and sets ZF if it had to.
#
# On KVM of host kind 3: it refuses `arpl ax, bx` (internal error, suberror 1).
#
# Source: Intel SDM vol. 2A, ARPL; vol. 3A §5.10.4 (checking caller access privileges).

.include "../check32.inc"

    call catch_faults
    mov eax, 0x18
    mov ebx, 0x33
    arpl ax, bx
    holds z
    equal eax, 0x1B
    arpl ax, bx
    holds nz
    equal eax, 0x1B
    mov ebx, 0x31
    arpl ax, bx
    holds nz
    equal eax, 0x1B
    exit 0

.include "../catch32.inc"
