# /// pykvm
# mode = "protected"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# IRET at CPL 0 with VM set in the flags that it takes enters virtual-8086 mode. A fault leaves it
# for CPL 0: the handler's stack has GS, FS, DS and ES too, and the registers are null.
#
# On KVM of host kind 3: it refuses `iretd` (internal error, suberror 1).
#
# Source: Intel SDM vol. 3A §20.2.5, §20.3.1 (entering and leaving virtual-8086 mode).

.include "../check32.inc"

    call catch_faults
    attempt
    enter_vm86 code, 2
.code16
code:
    hlt
.code32
    caught 13, 0
    equal dword ptr [caught_cs], 0x1000
    equal dword ptr [caught_eip], code - 0x10000
    equal dword ptr [caught_esp], 0x1000
    equal dword ptr [caught_ss], VM86_SS
    mov eax, [caught_flags]
    test eax, FLAG_VM
    holds nz
    equal dword ptr [caught_ds], 0
    mov eax, fs
    equal eax, 0
    mov eax, [handler_esp]
    equal eax, KERNEL_STACK_TOP - 36
    equal dword ptr [eax + 20], VM86_ES
    equal dword ptr [eax + 24], VM86_DS
    equal dword ptr [eax + 28], VM86_FS
    equal dword ptr [eax + 32], VM86_GS
    exit 0

.include "../catch32.inc"
