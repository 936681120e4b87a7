# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# Segments of virtual-8086 mode begin at 16 times the selector and have 64 KiB.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §20.1.1 (address translation in real-address mode), §20.2.

.include "../check32.inc"

    call catch_faults
    mov dword ptr [VM86_DS * 16 + 0x20], 0x1234
    attempt
    enter_vm86 code, 2
.code16
code:
    mov ax, [0x20]
    mov [0x24], ax
    mov bx, 0xFFFF
    mov al, [bx]
    mov ax, [bx]
.code32
    caught 13, 0
    equal word ptr [VM86_DS * 16 + 0x24], 0x1234
    exit 0

.include "../catch32.inc"
