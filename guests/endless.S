# /// pykvm
# mode = "long"
# timeout = "200ms"
# devices = ["debugcon"]
#
# [expect]
# output = "round and round\n"
# outcome = "timeout"
# exit_code = 124
# exits = { PortOut = 16 }
# ///

# An endless loop, ended by the run's time limit. Nothing that this guest does is an exit, so
# pykvm must take control back by itself: a signal goes to the thread that is inside KVM.
#
# Source: Linux, Documentation/virt/kvm/api.rst, "The kvm_run structure" (immediate_exit).

.include "macros.inc"

    print text
forever:
    jmp forever

.include "print64.inc"

text:
    .asciz "round and round\n"
