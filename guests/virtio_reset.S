# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit", "virtio-entropy", "virtio-block"]
#
# [expect]
# output = """
# a loop: needs a reset
# its own registers: needs a reset
# after a reset it works, and the disk never stopped
# """
# outcome = "exit"
# exit_code = 0
# ///

# A driver that breaks the rules: a chain that loops, then a buffer where the device's own registers
# are. The device says DEVICE_NEEDS_RESET and does nothing until it is reset; then it works, and
# another device has never noticed.
#
# Source: VIRTIO 1.2 §2.1.2 (DEVICE_NEEDS_RESET), §2.7.5.3.1 (no loops).

.include "macros.inc"
.include "virtio64.inc"

QUEUE = 0x20000
DISK_QUEUE = 0x22000
BYTES = 0x21000
HEAD = 0x21100
ANSWER = 0x21110
NEEDS_RESET = 0x40
FLUSH = 4

    mov eax, 4 # an entropy device
    call virtio_find
    jc wrong

    call set_up
    virtq_describe 0, BYTES, 16, VIRTQ_WRITE + VIRTQ_NEXT, 1
    virtq_describe 1, BYTES, 16, VIRTQ_WRITE + VIRTQ_NEXT, 0
    call try
    print looped

    call set_up
    mov rcx, r12
    virtq_describe 0, 0, 16, VIRTQ_WRITE, 0
    mov qword ptr [rbx], rcx
    call try
    print registers

    call set_up
    virtq_describe 0, BYTES, 16, VIRTQ_WRITE, 0
    virtq_offer 0
    virtio_notify 0
    call virtq_wait

    mov eax, 2 # the disk
    call virtio_find
    jc wrong
    mov eax, 1 << 9 # it can flush
    call virtio_begin
    mov ebx, DISK_QUEUE
    xor eax, eax
    call virtio_queue
    mov dword ptr [r12 + VIRTIO_STATUS], VIRTIO_DRIVER_OK
    mov dword ptr [HEAD], FLUSH
    mov byte ptr [ANSWER], 0xFF
    virtq_describe 0, HEAD, 16, VIRTQ_NEXT, 1
    virtq_describe 1, ANSWER, 1, VIRTQ_WRITE, 0
    virtq_offer 0
    virtio_notify 0
    call virtq_wait
    cmp byte ptr [ANSWER], 0
    jne wrong
    print works
    exit 0
wrong:
    exit 1

# Reset the device, and give it an empty queue, whose address goes to rbx.
set_up:
    mov edi, QUEUE
    mov ecx, VIRTQ_SIZE / 8
    xor eax, eax
    rep stosq
    call virtio_begin
    mov ebx, QUEUE
    xor eax, eax
    call virtio_queue
    mov dword ptr [r12 + VIRTIO_STATUS], VIRTIO_DRIVER_OK
    ret

# Offer what descriptor 0 begins; nothing may come back, and the device must want a reset.
try:
    virtq_offer 0
    virtio_notify 0
try_wait: # devices may take their time
    pause
    test dword ptr [r12 + VIRTIO_STATUS], NEEDS_RESET
    jz try_wait
    cmp word ptr [rbx + VIRTQ_USED + 2], 0
    jne wrong
    virtio_notify 0 # which changes nothing
    cmp word ptr [rbx + VIRTQ_USED + 2], 0
    jne wrong
    ret

.include "virtio64_code.inc"
.include "print64.inc"

looped:
    .asciz "a loop: needs a reset\n"
registers:
    .asciz "its own registers: needs a reset\n"
works:
    .asciz "after a reset it works, and the disk never stopped\n"
