# /// pykvm
# mode = "long"
# devices = ["exit", "virtio-console"]
#
# [expect]
# input = "hello, world\n"
# output = "Say something: you said hello, world\n"
# outcome = "exit"
# exit_code = 0
# ///

# A console, both ways: a line that comes in goes out again. Output is a buffer in the transmit
# queue. For input the guest puts empty buffers into the receive queue beforehand; the device gives
# one back when there is something in it, and says how much.
#
# Source: VIRTIO 1.2 §5.3.6 (console device operation), §2.7.8 (the used ring).

.include "macros.inc"
.include "virtio64.inc"

RECEIVE = 0x20000 # the queues
TRANSMIT = 0x21000
INPUT = 0x22000
INPUT_SIZE = 64

# Send `size` bytes at `address`. Changes rax, rbx and rdi.
.macro console_send address, size
    mov ebx, TRANSMIT
    virtq_describe 0, \address, \size, 0, 0
    virtq_offer 0
    virtio_notify 1
    call virtq_wait
.endm

    mov eax, 3 # a console
    call virtio_find
    jc wrong
    xor eax, eax
    call virtio_begin
    mov ebx, TRANSMIT
    mov eax, 1
    call virtio_queue
    mov ebx, RECEIVE
    xor eax, eax
    call virtio_queue
    mov dword ptr [r12 + VIRTIO_STATUS], VIRTIO_DRIVER_OK

    console_send question, question_size
    console_send answer, answer_size
    xor r15d, r15d # buffers that came back
echo:
    mov ebx, RECEIVE
    virtq_describe 0, INPUT, INPUT_SIZE, VIRTQ_WRITE, 0
    virtq_offer 0
    virtio_notify 0
    call virtq_wait
    mov eax, r15d
    and eax, VIRTQ_ENTRIES - 1
    mov r14d, dword ptr [rbx + VIRTQ_USED + 4 + rax * 8 + 4] # bytes that were written
    inc r15d
    console_send INPUT, r14d
    cmp byte ptr [INPUT + r14 - 1], 10 # the end of the line
    jne echo
    exit 0
wrong:
    exit 1

.include "virtio64_code.inc"

question:
    .ascii "Say something: "
question_size = . - question
answer:
    .ascii "you said "
answer_size = . - answer
