# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit", "virtio-block"]
#
# [expect]
# output = "2048 sectors; one was read, changed, written, flushed and read again\n"
# outcome = "exit"
# exit_code = 0
# ///

# A disk: read a sector, change it, write it back, flush, and read it again to see that it holds.
# A request is three buffers: a head that says what and where, the data, and a byte for the answer.
#
# Source: VIRTIO 1.2 §5.2.6 (block device operation), §5.2.4 (capacity).

.include "macros.inc"
.include "virtio64.inc"

QUEUE = 0x20000
DATA = 0x21000
AGAIN = 0x21200
HEAD = 0x21400
STATUS = 0x21410
SECTOR = 7

BLOCK_READ = 0
BLOCK_WRITE = 1
BLOCK_FLUSH = 4
BLOCK_FEATURE_FLUSH = 1 << 9
CAPACITY = 0x100 # in the configuration space

# Do one request. The device writes to the data or reads from it, as `flags` say.
.macro block_request kind, data, flags
    mov dword ptr [HEAD], \kind
    virtq_describe 1, \data, 512, VIRTQ_NEXT + \flags, 2
    mov ecx, 1
    call block_do
.endm

    mov eax, 2 # a block device
    call virtio_find
    jc wrong
    mov eax, BLOCK_FEATURE_FLUSH
    call virtio_begin
    mov ebx, QUEUE
    xor eax, eax
    call virtio_queue
    mov dword ptr [r12 + VIRTIO_STATUS], VIRTIO_DRIVER_OK

    mov qword ptr [HEAD + 8], SECTOR
    block_request BLOCK_READ, DATA, VIRTQ_WRITE
    call change
    block_request BLOCK_WRITE, DATA, 0
    mov dword ptr [HEAD], BLOCK_FLUSH
    mov ecx, 2 # a flush has no data
    call block_do
    block_request BLOCK_READ, AGAIN, VIRTQ_WRITE

    mov esi, DATA
    mov edi, AGAIN
    mov ecx, 512 / 8
    repe cmpsq
    jne wrong
    mov eax, dword ptr [r12 + CAPACITY]
    call print_decimal
    print text
    exit 0
wrong:
    exit 1

# Put the head, what begins at descriptor ecx, and the status into the queue; wait for the answer.
block_do:
    virtq_describe 0, HEAD, 16, VIRTQ_NEXT, 1
    mov word ptr [rbx + 14], cx # next of descriptor 0
    virtq_describe 2, STATUS, 1, VIRTQ_WRITE, 0
    mov byte ptr [STATUS], 0xFF
    virtq_offer 0
    virtio_notify 0
    call virtq_wait
    cmp byte ptr [STATUS], 0
    jne wrong
    ret

# Make each byte of the data another one.
change:
    mov ecx, 512
change_byte:
    add byte ptr [DATA - 1 + rcx], cl
    dec ecx
    jnz change_byte
    ret

.include "virtio64_code.inc"
.include "print64.inc"

text:
    .asciz " sectors; one was read, changed, written, flushed and read again\n"
