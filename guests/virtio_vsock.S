# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit", "virtio-vsock"]
#
# [expect]
# output = "nobody listens at port 52\n"
# outcome = "exit"
# exit_code = 0
# ///

# A socket to the host, whose number is always 2: ask for a stream to its port 52, send a line, and
# print what comes back. Packets are a header and data; the answer to a request is RESPONSE, or RST
# where nobody listens. With `pykvm run --vsock PATH` the host's end is the socket PATH_52.
#
# Source: VIRTIO 1.2 §5.10.6 (socket device operation).

.include "macros.inc"
.include "virtio64.inc"

RECEIVE = 0x20000 # the queues
TRANSMIT = 0x21000
PACKET = 0x22000 # what is sent: a header of 44 bytes
INPUT = 0x23000  # what is received
INPUT_SIZE = 0x1000

HOST = 2
PORT = 52
REQUEST = 1
RESPONSE = 2
DATA = 5
GUEST_CID = 0x100 # in the configuration space

# Fields of a header.
OFFSET_SRC_CID = 0
OFFSET_DST_CID = 8
OFFSET_SRC_PORT = 16
OFFSET_DST_PORT = 20
OFFSET_LEN = 24
OFFSET_TYPE = 28
OFFSET_OP = 30
OFFSET_BUF_ALLOC = 36
HEADER_SIZE = 44

    mov eax, 19 # a socket device
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

    mov eax, dword ptr [r12 + GUEST_CID]
    mov qword ptr [PACKET + OFFSET_SRC_CID], rax
    mov qword ptr [PACKET + OFFSET_DST_CID], HOST
    mov dword ptr [PACKET + OFFSET_SRC_PORT], 1024
    mov dword ptr [PACKET + OFFSET_DST_PORT], PORT
    mov word ptr [PACKET + OFFSET_TYPE], 1 # a stream
    mov dword ptr [PACKET + OFFSET_BUF_ALLOC], INPUT_SIZE - HEADER_SIZE

    mov word ptr [PACKET + OFFSET_OP], REQUEST
    call send
    call receive
    cmp word ptr [INPUT + OFFSET_OP], RESPONSE
    je connected
    print nobody
    exit 0

connected:
    mov word ptr [PACKET + OFFSET_OP], DATA
    mov dword ptr [PACKET + OFFSET_LEN], line_size
    call send
    call receive
    cmp word ptr [INPUT + OFFSET_OP], DATA
    jne wrong
    mov ecx, dword ptr [INPUT + OFFSET_LEN]
    mov byte ptr [INPUT + HEADER_SIZE + rcx], 0
    mov esi, INPUT + HEADER_SIZE
    call print_text
    exit 0
wrong:
    exit 1

# Send the packet: the header, and the line behind it where there is data. Changes rax, rbx, rdi.
send:
    mov ebx, TRANSMIT
    cmp dword ptr [PACKET + OFFSET_LEN], 0
    jne send_data
    virtq_describe 0, PACKET, HEADER_SIZE, 0, 0
    jmp send_offer
send_data:
    virtq_describe 0, PACKET, HEADER_SIZE, VIRTQ_NEXT, 1
    virtq_describe 1, line, line_size, 0, 0
send_offer:
    virtq_offer 0
    virtio_notify 1
    call virtq_wait
    ret

# Wait for a packet. Changes rax, rbx and rdi.
receive:
    mov ebx, RECEIVE
    virtq_describe 0, INPUT, INPUT_SIZE - 1, VIRTQ_WRITE, 0
    virtq_offer 0
    virtio_notify 0
    call virtq_wait
    ret

.include "virtio64_code.inc"
.include "print64.inc"

nobody:
    .asciz "nobody listens at port 52\n"
line:
    .ascii "hello from the guest\n"
line_size = . - line
