# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SYSENTER and SYSEXIT read no descriptors: the segments are flat whatever the GDT holds.
#
# On KVM of AMD's processors: SYSENTER is #UD in long mode (AMD APM vol. 3, SYSENTER).
#
# On KVM of host kind 3: check 0 fails, after vector 6 with error code 0: it raises #UD.
#
# Source: Intel SDM vol. 2B, SYSENTER (operation).

.include "../check64.inc"

    call catch_faults
    write_msr 0x174, 0x1000
    write_msr 0x175, KERNEL_STACK_TOP
    write_msr 0x176, service
    enter_user user
user:
    sysenter
    jmp failed
service:
    mov eax, cs
    equal eax, 0x1000
    exit 0

.include "../catch64.inc"
