# /// pykvm
# mode = "long"
# memory = "1M"
# timeout = "2s"
# ///

# Counts down on the debug console and ends with status 7.

    mov al, '3'
next:
    out 0xe9, al
    dec al
    cmp al, '0'
    jne next
    mov al, '\n'
    out 0xe9, al
    mov eax, 7
    out 0xf8, eax
