# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit"]
# requires = ["cpl0-sse"]
#
# [expect]
# output = "popcnt 00000014, sse 000000d2, x87 0000000f, rounds 000003e8\n"
# outcome = "exit"
# exit_code = 0
# ///

# POPCNT, SSE2 arithmetic and x87 at CPL 0. Where KVM runs CPL 0 in its own instruction emulator it
# refuses them; pykvm's emulator then takes over (assist), and a loop of them soon stays there.
#
# Source: Intel SDM vol. 2, POPCNT, PADDQ, FILD; vol. 3A §2.5 (CR0.MP, CR4.OSFXSR).

.include "macros.inc"

    print popcnt_text
    mov eax, 0xF0F0FFF0
    popcnt eax, eax
    call print_hex

    print sse_text
    mov eax, 10 # the sum of 1 to 20, two at a time
    pxor xmm0, xmm0
    movdqu xmm1, [rip + pair]
    movdqu xmm2, [rip + step]
again:
    paddq xmm0, xmm1
    paddq xmm1, xmm2
    dec eax
    jnz again
    movhlps xmm1, xmm0
    paddq xmm0, xmm1
    movd eax, xmm0
    call print_hex

    print x87_text
    fninit
    fild dword ptr [rip + five]
    fild dword ptr [rip + five]
    fmulp
    fild dword ptr [rip + ten]
    fsubp
    fistp dword ptr [rip + result]
    mov eax, [rip + result]
    call print_hex

    print rounds_text
    xor ebx, ebx
    mov ecx, 1000
round:
    popcnt eax, ecx
    movd xmm3, eax
    paddd xmm4, xmm3
    inc ebx
    dec ecx
    jnz round
    mov eax, ebx
    call print_hex
    print newline
    exit 0

.include "print64.inc"

    .balign 16
pair:
    .quad 1, 2
step:
    .quad 2, 2
five:
    .long 5
ten:
    .long 10
result:
    .long 0
popcnt_text:
    .asciz "popcnt "
sse_text:
    .asciz ", sse "
x87_text:
    .asciz ", x87 "
rounds_text:
    .asciz ", rounds "
newline:
    .asciz "\n"
