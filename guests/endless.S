# /// pykvm
# mode = "long"
# timeout = "200ms"
#
# [expect]
# output = "round and round\n"
# outcome = "timeout"
# exit_code = 124
# exits = { PortOut = 16 }
# ///

# An endless loop without a single exit: nothing that the guest does gives pykvm control again.
# The run's time limit does, by a signal to the thread that is inside KVM.
#
# Source: Linux, Documentation/virt/kvm/api.rst, "The kvm_run structure" (immediate_exit).

.include "macros.inc"

    print text
forever:
    jmp forever

.include "print64.inc"

text:
    .asciz "round and round\n"
