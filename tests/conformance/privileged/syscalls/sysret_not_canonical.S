# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# timeout = "1s"
#
# [expect]
# outcome = "exit"
# exit_code = 0
# ///

# SYSRETQ to an address that is not canonical is #GP(0), raised at CPL 0. (AMD's processors raise it
# at CPL 3.)
#
# On KVM of AMD's processors: the exception comes at CPL 3 (AMD APM vol. 3, SYSRET).
#
# On KVM of host kind 3: check 2 fails, after vector 13 with error code 0: the exception comes at
# CPL 3, as on AMD's processors.
#
# Source: Intel SDM vol. 2B, SYSRET (operation).

.include "../check64.inc"

    call catch_faults
    write_msr MSR_EFER, 0x500 + EFER_SCE # LME, LMA
    write_msr MSR_STAR, (USER_CODE32_SELECTOR + 3) << 48 | CODE64_SELECTOR << 32
    mov rcx, 0x800000000000
    mov r11d, 2
    attempt
    sysretq
    caught 13, 0
    equal qword ptr [rip + caught_cs], CODE64_SELECTOR
    exit 0

.include "../catch64.inc"
