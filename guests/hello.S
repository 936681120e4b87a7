# /// pykvm
# mode = "long"
# devices = ["debugcon"]
#
# [expect]
# output = "Hello from long mode\n"
# outcome = "halt"
# exits = { PortOut = 21, Halt = 1 }
# ///

# The smallest complete guest: write a string to the debug console, byte by byte, and halt.

    lea rsi, [rip + text]
next:
    lodsb
    test al, al
    jz done
    out 0xe9, al
    jmp next
done:
    hlt

text:
    .asciz "Hello from long mode\n"
