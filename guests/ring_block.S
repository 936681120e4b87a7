# /// pykvm
# mode = "protected"
# load = 0x100000
# memory = "16M"
# append = "ring=d0001000,1000,8,8,1000,40,0"
# devices = ["debugcon", "exit", "scratch", "virtio-block"]
#
# [expect]
# output = "SE"
# outcome = "exit"
# exit_code = 1
# ///

# Read a disk at random places as fast as it goes, with a number of requests under way, and note
# how long each takes: what `pykvm bench ring` measures. ring32.inc says what the command line is.
#
# Source: VIRTIO 1.2 §5.2.6 (block device operation).

.include "macros.inc"
.include "ring32.inc"

RING = 0x200000
HEADS = 0x210000 # 16 bytes by head
ANSWERS = 0x220000 # a byte by head
DATA = 0x300000 # 4 KiB by request: 85 at most

next_available:
    .word 0
seen_used:
    .word 0
blocks_mask:
    .long 0
seed:
    .long 1

# Requests are heads 0, 3, 6 and so on: head, data and answer are descriptors that follow.
ring_main:
    mov ebx, 2 # a block device
    call ring_find
    mov eax, [ebp + 0x100] # capacity in sectors: a power of 2 here
    shr eax, 3
    dec eax
    mov [blocks_mask], eax
    xor eax, eax
    mov edx, RING
    call ring_queue
    mov dword ptr [ebp + VIRTIO_STATUS], 15

    xor ebx, ebx
    mov edi, DATA
    mov ecx, [p_depth]
describe:
    mov edx, ebx
    shl edx, 4
    lea eax, [HEADS + edx]
    mov [RING + edx], eax
    mov dword ptr [RING + edx + 8], 16
    lea eax, [ebx + 1]
    shl eax, 16
    or eax, VIRTQ_NEXT
    mov [RING + edx + 12], eax
    mov [RING + edx + 16], edi
    mov eax, [p_size]
    mov [RING + edx + 16 + 8], eax
    lea eax, [ebx + 2]
    shl eax, 16
    or eax, VIRTQ_NEXT + VIRTQ_WRITE
    mov [RING + edx + 16 + 12], eax
    lea eax, [ANSWERS + ebx]
    mov [RING + edx + 32], eax
    mov dword ptr [RING + edx + 32 + 8], 1
    mov dword ptr [RING + edx + 32 + 12], VIRTQ_WRITE
    add ebx, 3
    add edi, 0x1000
    dec ecx
    jnz describe

    ring_mark 'S', started
    xor esi, esi # requests put in
    xor edi, edi # requests that came back
    xor ebx, ebx
    mov ecx, [p_depth]
first:
    call put_in
    add ebx, 3
    dec ecx
    jnz first
publish:
    ring_publish RING, next_available, 0
look:
    movzx ecx, word ptr [seen_used]
    cmp cx, [RING + RING_USED + 2]
    jne take
    pause
    jmp look
take:
    inc word ptr [seen_used]
    and ecx, RING_ENTRIES - 1
    mov ebx, [RING + RING_USED + 4 + ecx * 8]
    cmp byte ptr [ANSWERS + ebx], 0
    jne wrong
    rdtsc
    sub eax, [SUBMITTED + ebx * 4]
    mov [SAMPLES + edi * 4], eax
    inc edi
    cmp esi, [p_total]
    jae taken
    call put_in
taken:
    movzx ecx, word ptr [seen_used]
    cmp cx, [RING + RING_USED + 2]
    jne take
    cmp edi, [p_total]
    jb publish
    ring_mark 'E', ended
    jmp ring_report

# Put request ebx in, for a block anywhere. Changes eax and edx.
put_in:
    imul eax, [seed], 1103515245
    add eax, 12345
    mov [seed], eax
    shr eax, 8
    and eax, [blocks_mask]
    shl eax, 3
    mov edx, ebx
    shl edx, 4
    mov [HEADS + edx + 8], eax
    mov byte ptr [ANSWERS + ebx], 0xFF
    ring_put RING, next_available
    rdtsc
    mov [SUBMITTED + ebx * 4], eax
    inc esi
    ret

ring_end:
ring_stack = ring_end + 0x1000
