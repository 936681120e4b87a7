# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# INVPCID raises #GP(0) for a type above 3, for reserved bits in its descriptor, for an address that
# is not canonical in type 0, for a PCID while CR4.PCIDE is clear, and at CPL 3.
#
# On KVM of host kind 3: it refuses `invpcid rbx, xmmword ptr [rip + 0x145]` (internal error,
# suberror 1).
#
# Source: Intel SDM vol. 2A, INVPCID (protected and 64-bit mode exceptions).

.include "../check64.inc"

    call catch_faults
    needs 7, ebx, 10
    mov ebx, 4
    attempt
    invpcid rbx, [rip + nothing]
    caught 13, 0
    xor ebx, ebx
    attempt
    invpcid rbx, [rip + reserved]
    caught 13, 0
    attempt
    invpcid rbx, [rip + not_canonical]
    caught 13, 0
    attempt
    invpcid rbx, [rip + pcid_one]
    caught 13, 0
    enter_user user
user:
    mov ebx, 2
    attempt
    invpcid rbx, [rip + nothing]
    caught 13, 0
    exit 0

nothing:
    .quad 0, 0
reserved:
    .quad 0x1000, 0
not_canonical:
    .quad 0, 0x100000000000000
pcid_one:
    .quad 1, 0

.include "../catch64.inc"
.include "../paging64.inc"
