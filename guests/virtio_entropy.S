# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit", "virtio-entropy"]
#
# [expect]
# output = "two reads gave different bytes\n"
# outcome = "exit"
# exit_code = 0
# ///

# Random bytes from the entropy device: two requests of 16 bytes, in one notification.
#
# Source: VIRTIO 1.2 §5.4 (entropy device).

.include "macros.inc"
.include "virtio64.inc"

QUEUE = 0x20000
BYTES = 0x21000

    mov eax, 4 # an entropy device
    call virtio_find
    jc wrong
    xor eax, eax
    call virtio_begin
    mov ebx, QUEUE
    xor eax, eax
    call virtio_queue
    mov dword ptr [r12 + VIRTIO_STATUS], VIRTIO_DRIVER_OK

    virtq_describe 0, BYTES, 16, VIRTQ_WRITE, 0
    virtq_describe 1, BYTES + 16, 16, VIRTQ_WRITE, 0
    virtq_offer 0
    virtq_offer 1
    virtio_notify 0
    call virtq_wait

    mov rax, qword ptr [BYTES]
    mov rcx, qword ptr [BYTES + 16]
    sub rax, rcx
    mov ecx, 0 # nothing random is left in a register
    jz wrong
    print text
    exit 0
wrong:
    exit 1

.include "virtio64_code.inc"
.include "print64.inc"

text:
    .asciz "two reads gave different bytes\n"
