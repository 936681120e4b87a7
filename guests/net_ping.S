# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit", "virtio-net"]
#
# [expect]
# output = "4 pings, 4 answers\n"
# outcome = "exit"
# exit_code = 0
# ///

# Pings by the virtio network device: ask by ARP who has 10.0.0.1, then send it four echo requests
# and check the answers. With the command line "pong" the guest is 10.0.0.1, and answers four. The
# device is polled.
#
# Source: VIRTIO 1.2 §5.1 (network device).

.include "macros.inc"
.include "virtio64.inc"
.include "net64.inc"

RECEIVE_QUEUE = 0x20000
TRANSMIT_QUEUE = 0x21000
NET_HEADER_SIZE = 12 # §5.1.6; in front of each frame
NET_F_MAC = 1 << 5
CONFIG_MAC = 0x100

    mov eax, 1 # a network device
    call virtio_find
    jc wrong
    mov eax, NET_F_MAC
    call virtio_begin
    mov ebx, RECEIVE_QUEUE
    xor eax, eax
    call virtio_queue
    mov ebx, TRANSMIT_QUEUE
    mov eax, 1
    call virtio_queue
    mov dword ptr [r12 + VIRTIO_STATUS], VIRTIO_DRIVER_OK

    lea rdi, [rip + net_mac]
    mov eax, dword ptr [r12 + CONFIG_MAC]
    stosd
    mov ax, word ptr [r12 + CONFIG_MAC + 4]
    stosw

    mov ebx, RECEIVE_QUEUE
    virtq_describe 0, NET_RX - NET_HEADER_SIZE, 1526, VIRTQ_WRITE, 0
    virtq_offer 0
    virtio_notify 0
    xor r14d, r14d # frames received
    call net_play
    exit 0
wrong:
    exit 1

# The header in front of the frame stays zero: no offload.
net_send:
    mov ebx, TRANSMIT_QUEUE
    add ecx, NET_HEADER_SIZE
    virtq_describe 0, NET_TX - NET_HEADER_SIZE, ecx, 0, 0
    virtq_offer 0
    virtio_notify 1
    jmp virtq_wait

# One buffer is with the device; it is offered again before the next wait.
net_receive:
    mov ebx, RECEIVE_QUEUE
    test r14d, r14d
    jz net_receive_wait
    virtq_offer 0
    virtio_notify 0
net_receive_wait:
    inc r14d
    jmp virtq_wait

net_mac:
    .zero 6

.include "net64_code.inc"
.include "virtio64_code.inc"
.include "print64.inc"
