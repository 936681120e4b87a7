# /// pykvm
# mode = "protected"
# load = 0x100000
# memory = "16M"
# append = "ring=d0001000,1000,8,0,40,0,0"
# devices = ["debugcon", "exit", "scratch", "virtio-net"]
#
# [expect]
# output = ""
# outcome = "exit"
# exit_code = 1
# ///

# Ping the station at 10.0.2.2 as fast as it answers, with a number of echo requests under way, and
# note how long each takes: what `pykvm bench ring` measures. ring32.inc says what the command line
# is; with a depth of 0 the guest sets the device up and sends nothing.
#
# Source: VIRTIO 1.2 §5.1.6 (network device operation), RFC 826 (ARP), RFC 791 (IPv4), RFC 792
# (ICMP).

.include "macros.inc"
.include "ring32.inc"

RECEIVE = 0x200000 # the rings
SEND = 0x240000
FRAMES_IN = 0x300000 # 2 KiB by descriptor
FRAMES_OUT = 0x340000
BUFFERS = 64
HEAD = 12 # of a frame: VIRTIO's own
ETHERTYPE = HEAD + 12
IP = HEAD + 14
ICMP = IP + 20

next_in:
    .word 0
next_out:
    .word 0
seen_in:
    .word 0

arp: # who has 10.0.2.2? tell 10.0.2.15
    .byte 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 6
    .byte 0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 10, 0, 2, 15
    .byte 0, 0, 0, 0, 0, 0, 10, 0, 2, 2
arp_end:
ping: # an echo request from there, up to the sequence number; lengths and checksums are to come
    .byte 0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 0
    .byte 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2
    .byte 8, 0, 0, 0, 0x12, 0x34, 0
ping_end:

ring_main:
    mov ebx, 1 # a network device
    call ring_find
    xor eax, eax
    mov edx, RECEIVE
    call ring_queue
    mov eax, 1
    mov edx, SEND
    call ring_queue
    mov dword ptr [ebp + VIRTIO_STATUS], 15
    cmp dword ptr [p_depth], 0
    je done

    xor ebx, ebx
receive_one:
    mov edx, ebx
    shl edx, 4
    mov eax, ebx
    shl eax, 11
    add eax, FRAMES_IN
    mov [RECEIVE + edx], eax
    mov dword ptr [RECEIVE + edx + 8], 2048
    mov dword ptr [RECEIVE + edx + 12], VIRTQ_WRITE
    ring_put RECEIVE, next_in
    inc ebx
    cmp ebx, BUFFERS
    jb receive_one
    ring_publish RECEIVE, next_in, 0

    xor ebx, ebx # the first frame asks who there is
    call describe
    mov dword ptr [SEND + 8], HEAD + arp_end - arp
    mov esi, arp
    mov edi, FRAMES_OUT + HEAD
    mov ecx, arp_end - arp
    rep movsb
    ring_put SEND, next_out
    ring_publish SEND, next_out, 1
    call wait_in
    call take_in
    ring_publish RECEIVE, next_in, 0
    call wait_out

    xor ebx, ebx
build:
    call describe
    call build_ping
    inc ebx
    cmp ebx, [p_depth]
    jb build

    mov dword ptr [notifications], 0
    ring_mark 'S', started
    xor esi, esi # requests put in
    xor edi, edi # answers that came
    xor ebx, ebx
first:
    call put_in
    inc ebx
    cmp ebx, [p_depth]
    jb first
publish:
    ring_publish RECEIVE, next_in, 0
    call wait_out
    ring_publish SEND, next_out, 1
look:
    call wait_in
take:
    call take_in
    cmp word ptr [ecx + ETHERTYPE], 0x0008
    jne taken
    cmp byte ptr [ecx + ICMP], 0 # an echo reply
    jne taken
    movzx ebx, byte ptr [ecx + ICMP + 7]
    rdtsc
    sub eax, [SUBMITTED + ebx * 4]
    mov [SAMPLES + edi * 4], eax
    inc edi
    cmp esi, [p_total]
    jae taken
    call put_in
taken:
    movzx ecx, word ptr [seen_in]
    cmp cx, [RECEIVE + RING_USED + 2]
    jne take
    cmp edi, [p_total]
    jb publish
    ring_mark 'E', ended
    jmp ring_report

# Wait for a frame.
wait_in:
    mov ax, [seen_in]
    cmp ax, [RECEIVE + RING_USED + 2]
    jne waited
    pause
    jmp wait_in

# Wait until all that was sent is gone.
wait_out:
    mov ax, [SEND + RING_AVAIL + 2]
    cmp ax, [SEND + RING_USED + 2]
    je waited
    pause
    jmp wait_out
waited:
    ret

# Take a frame, whose place goes to ecx, and give its buffer back. Changes eax and ebx.
take_in:
    movzx ecx, word ptr [seen_in]
    inc word ptr [seen_in]
    and ecx, RING_ENTRIES - 1
    mov ebx, [RECEIVE + RING_USED + 4 + ecx * 8]
    ring_put RECEIVE, next_in
    mov ecx, ebx
    shl ecx, 11
    add ecx, FRAMES_IN
    ret

# Send request ebx once more. Changes eax and edx.
put_in:
    ring_put SEND, next_out
    rdtsc
    mov [SUBMITTED + ebx * 4], eax
    inc esi
    ret

# Descriptor ebx is a frame of p_size bytes. Changes eax and edx.
describe:
    mov edx, ebx
    shl edx, 4
    mov eax, ebx
    shl eax, 11
    add eax, FRAMES_OUT
    mov [SEND + edx], eax
    mov eax, [p_size]
    add eax, HEAD
    mov [SEND + edx + 8], eax
    mov dword ptr [SEND + edx + 12], 0
    ret

# Write echo request number ebx. Changes everything else but ebp.
build_ping:
    mov edx, ebx
    shl edx, 11
    add edx, FRAMES_OUT
    mov edi, edx
    xor eax, eax
    mov ecx, 512
    rep stosd
    mov esi, ping
    lea edi, [edx + HEAD]
    mov ecx, ping_end - ping
    rep movsb
    mov [edx + ICMP + 7], bl
    mov eax, [p_size]
    sub eax, 14
    mov [edx + IP + 2], ah
    mov [edx + IP + 3], al
    lea esi, [edx + IP]
    mov ecx, 20 / 2
    call checksum
    mov [edx + IP + 10], ax
    lea esi, [edx + ICMP]
    mov ecx, [p_size]
    sub ecx, 14 + 20
    shr ecx, 1
    call checksum
    mov [edx + ICMP + 2], ax
    ret

# The Internet's checksum over ecx words at esi goes to ax. Changes ecx, esi and edi.
checksum:
    xor edi, edi
checksum_word:
    movzx eax, word ptr [esi]
    add edi, eax
    add esi, 2
    dec ecx
    jnz checksum_word
    mov eax, edi
    shr eax, 16
    and edi, 0xFFFF
    add eax, edi
    mov edi, eax
    shr edi, 16
    add eax, edi
    not eax
    ret

ring_end:
ring_stack = ring_end + 0x1000
