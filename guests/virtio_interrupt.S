# /// pykvm
# mode = "long"
# irqchip = "full"
# devices = ["debugcon", "exit", "virtio-entropy"]
#
# [expect]
# output = "16 requests, 16 interrupts\n"
# outcome = "exit"
# exit_code = 0
# ///

# Sleep until a virtio device has done its work: it interrupts by a level-triggered line of the
# I/O APIC. The handler reads InterruptStatus and writes it to InterruptACK, which lowers the line,
# and only then ends the interrupt: otherwise it would come again at once.
#
# Source: VIRTIO 1.2 §4.2.2 (registers), §5.4; Intel 82093AA data sheet (290566) §3.2.4.

.include "macros.inc"
.include "lapic64.inc"
.include "virtio64.inc"

QUEUE = 0x20000
BYTES = 0x21000
REQUESTS = 16
VECTOR = 0x31
INTERRUPT_STATUS = 0x60
INTERRUPT_ACK = 0x64
REDIRECTION = 0x10 # index of pin 0's low half; the high half follows
LEVEL = 1 << 15

    gate VECTOR, interrupt
    call load_idt
    mov bl, 0xFF
    call start_pic
    lapic_write LAPIC_SPURIOUS, LAPIC_ENABLE

    mov eax, 4 # an entropy device
    call virtio_find
    jc wrong
    call open_pin
    mov eax, 0
    call virtio_begin
    mov ebx, QUEUE
    mov eax, 0
    call virtio_queue
    mov dword ptr [r12 + VIRTIO_STATUS], VIRTIO_DRIVER_OK
    virtq_describe 0, BYTES, 16, VIRTQ_WRITE, 0

    mov ebp, 0 # requests that are done, and in r14d interrupts
    mov r14d, 0
next:
    cli
    virtq_offer 0
    virtio_notify 0
    inc ebp
sleep:
    sti
    hlt # STI lets one more instruction pass: no interrupt can come before HLT
    cli
    cmp r14d, ebp # woken by something else: the request may be done, but its interrupt is to come
    jne sleep
    cmp word ptr [rbx + VIRTQ_USED + 2], bp
    jne wrong
    cmp ebp, REQUESTS
    jne next
    print text
    exit 0
wrong:
    exit 1

# Send the pin of line r13d to processor 0: level-triggered, active high, fixed delivery.
open_pin:
    mov edi, IOAPIC_BASE
    lea eax, [r13 * 2 + REDIRECTION + 1]
    mov dword ptr [rdi], eax
    mov dword ptr [rdi + 0x10], 0
    dec eax
    mov dword ptr [rdi], eax
    mov dword ptr [rdi + 0x10], LEVEL + VECTOR
    ret

interrupt:
    push rax
    push rdx
    mov eax, dword ptr [r12 + INTERRUPT_STATUS]
    test eax, eax
    jz not_ours # the line may be another device's too
    inc r14d
    mov dword ptr [r12 + INTERRUPT_ACK], eax
not_ours:
    lapic_write LAPIC_EOI, 0
    pop rdx
    pop rax
    iretq

.include "virtio64_code.inc"
.include "print64.inc"
.include "idt64.inc"
.include "pic64.inc"

text:
    .asciz "16 requests, 16 interrupts\n"
