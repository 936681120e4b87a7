# /// pykvm
# mode = "long"
# cpus = 2
# devices = ["debugcon", "exit"]
#
# [expect]
# output = "CPU 0 and CPU 1 met at the barrier\n"
# outcome = "exit"
# exit_code = 0
# exits = { PortOut = 36 }
# ///

# The first processor starts the second, and both meet at a barrier. INIT makes the other wait,
# SIPI sets it going in real mode at the page that its vector names, so its code must lie below 1
# MiB. The barrier is a counter: each adds one, in one step that none can interrupt (LOCK), and
# waits until all have.
#
# Source: Intel SDM vol. 3A §8.4 (multiple-processor initialization), §10.6.1 (the ICR), §8.1.2.2
# (LOCK).

.include "macros.inc"
.include "lapic64.inc"

ICR_OTHERS = 3 << 18 # destination shorthand: all but the sender
ICR_INIT = 0x4500
ICR_STARTUP = 0x4600
CPUS = 2

# Shared variables, in the trampoline's page, as offsets from its start.
ARRIVED = 0x800
OTHER_ID = 0x804

    lea rsi, [rip + trampoline]
    mov edi, AP_TRAMPOLINE_BASE
    mov ecx, TRAMPOLINE_SIZE
    rep movsb
    mov ebx, AP_TRAMPOLINE_BASE
    mov dword ptr [rbx + ARRIVED], 0

    lapic_write LAPIC_SPURIOUS, LAPIC_ENABLE
    lapic_write LAPIC_ICR_LOW, ICR_OTHERS + ICR_INIT # 10 ms before the next, on a real board
    lapic_write LAPIC_ICR_LOW, ICR_OTHERS + ICR_STARTUP + (AP_TRAMPOLINE_BASE >> 12)

    lock inc dword ptr [rbx + ARRIVED]
wait:
    pause
    cmp dword ptr [rbx + ARRIVED], CPUS
    jb wait

    print first_text
    mov al, byte ptr [rbx + OTHER_ID]
    add al, '0'
    out DEBUGCON_PORT, al
    print met_text
    exit 0

# What the other processor runs: CS is the page, offsets count from its start.
trampoline:
.code16
    mov ax, cs
    mov ds, ax
    mov eax, 1
    cpuid
    shr ebx, 24 # initial APIC id
    mov byte ptr [OTHER_ID], bl
    lock inc dword ptr [ARRIVED]
wait16:
    pause
    cmp dword ptr [ARRIVED], CPUS
    jb wait16
sleep16:
    hlt
    jmp sleep16
.code64
TRAMPOLINE_SIZE = . - trampoline

.include "print64.inc"

first_text:
    .asciz "CPU 0 and CPU "
met_text:
    .asciz " met at the barrier\n"
