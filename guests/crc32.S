# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "CRC-32 of \"123456789\" is cbf43926\n"
# outcome = "exit"
# exit_code = 0
# exits = { PortOut = 35 }
# ///

# The CRC-32 of Ethernet and zip, bit by bit. The polynomial is 0xEDB88320, its bits reflected;
# the register starts as all ones and is inverted at the end. The published check value over the
# nine digits is 0xCBF43926.
#
# Source: ITU-T V.42 §8.1.1.6.2 (32-bit frame check sequence).

.include "macros.inc"

POLYNOMIAL = 0xEDB88320

    lea rsi, [rip + digits]
    mov ebx, 0xFFFFFFFF
next_byte:
    lodsb
    test al, al
    jz done
    xor bl, al
    mov ecx, 8
next_bit:
    shr ebx, 1
    jnc no_carry
    xor ebx, POLYNOMIAL
no_carry:
    dec ecx
    jnz next_bit
    jmp next_byte
done:
    not ebx
    print text
    mov eax, ebx
    call print_hex
    print newline
    cmp ebx, 0xCBF43926
    jne wrong
    exit 0
wrong:
    exit 1

.include "print64.inc"

digits:
    .asciz "123456789"
text:
    .asciz "CRC-32 of \"123456789\" is "
newline:
    .asciz "\n"
