# /// pykvm
# mode = "long"
# devices = ["debugcon"]
#
# [expect]
# output = "goodbye\n"
# outcome = "shutdown"
# exit_code = 125
# exits = { PortOut = 8, Shutdown = 1 }
# ///

# A triple fault on purpose. With an empty IDT an exception has no handler, and neither has the
# double fault that follows, nor the fault on that. The processor shuts down, which a PC answers
# with a reset, and pykvm with the end of the run.
#
# Source: Intel SDM vol. 3A §6.15 (interrupt 8, #DF).

.include "macros.inc"

    print text
    lidt [rip + empty_idt]
    ud2

.include "print64.inc"

text:
    .asciz "goodbye\n"
empty_idt:
    .word 0
    .quad 0
