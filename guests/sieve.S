# /// pykvm
# mode = "user"
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "168 primes below 1000\n"
# outcome = "exit"
# exit_code = 0
# exits = { PortOut = 23 }
# ///

# The sieve of Eratosthenes: there are 168 primes below 1000. It runs at CPL 3 because that is at
# full speed on every kind of host; some run the code of CPL 0 in the kernel's own emulator.
#
# Source: OEIS A006880, the number of primes below 10^n.

.include "macros.inc"

LIMIT = 1000

    lea rdi, [rip + composite]
    xor ebx, ebx # how many primes
    mov ecx, 2
candidate:
    cmp byte ptr [rdi + rcx], 0
    jne next
    inc ebx
    mov eax, ecx
    imul eax, ecx # smaller multiples have smaller factors
strike:
    cmp eax, LIMIT
    jae next
    mov byte ptr [rdi + rax], 1
    add eax, ecx
    jmp strike
next:
    inc ecx
    cmp ecx, LIMIT
    jb candidate

    mov eax, ebx
    call print_decimal
    print text
    exit 0

.include "print64.inc"

text:
    .asciz " primes below 1000\n"
composite:
    .zero LIMIT
