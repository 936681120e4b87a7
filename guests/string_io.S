# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit", "scratch"]
#
# [expect]
# output = "a whole string by REP OUTSB\nread back by REP INSB, INSW and INSD\n"
# outcome = "exit"
# exit_code = 0
# ///

# String input and output: REP OUTS writes a whole buffer to one port, REP INS fills one. RCX
# counts elements, not bytes. One exit may carry many elements; which, is up to KVM.
#
# Source: Intel SDM vol. 2A, INS/INSB/INSW/INSD; vol. 2B, OUTS/OUTSB/OUTSW/OUTSD.

.include "macros.inc"

    mov dx, DEBUGCON_PORT
    lea rsi, [rip + out_text]
    mov ecx, OUT_TEXT_SIZE
    rep outsb

    # The scratch port keeps the last element; INS repeats it over the buffer.
    mov dx, SCRATCH_PORT
    lea rsi, [rip + elements]
    mov ecx, 2
    rep outsd
    lea rdi, [rip + buffer]
    mov ecx, 3
    rep insd
    mov ecx, 2
    rep insw
    mov ecx, 4
    rep insb

    lea rsi, [rip + buffer]
    lea rdi, [rip + wanted]
    mov ecx, 20
    repe cmpsb
    jne wrong
    print in_text
    exit 0
wrong:
    exit 1

.include "print64.inc"

elements:
    .long 0x01020304, 0x44332211
wanted:
    .long 0x44332211, 0x44332211, 0x44332211
    .word 0x2211, 0x2211
    .byte 0x11, 0x11, 0x11, 0x11
buffer:
    .zero 20
out_text:
    .ascii "a whole string by REP OUTSB\n"
OUT_TEXT_SIZE = 28
in_text:
    .asciz "read back by REP INSB, INSW and INSD\n"
