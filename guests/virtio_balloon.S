# /// pykvm
# mode = "long"
# devices = ["debugcon", "exit", "virtio-balloon"]
#
# [expect]
# output = "256 pages went to the host, and came back empty\n"
# outcome = "exit"
# exit_code = 0
# ///

# The balloon: the device says how many pages it would like to have, and the driver gives it pages
# that the guest does not need, by their numbers. The host takes their memory away; a page that is
# touched again is a new one. The balloon of this guest wants a megabyte.
#
# Source: VIRTIO 1.2 §5.5.6 (memory balloon operation), §5.5.4 (num_pages, actual).

.include "macros.inc"
.include "virtio64.inc"

INFLATE = 0x20000 # the queues
DEFLATE = 0x21000
NUMBERS = 0x22000 # of pages, 32 bits each
PAGES = 0x400000  # what the guest does without
PAGES_MAX = 1024

NUM_PAGES = 0x100 # in the configuration space
ACTUAL = 0x104

    mov eax, 5 # a balloon
    call virtio_find
    jc wrong
    xor eax, eax
    call virtio_begin
    mov ebx, DEFLATE
    mov eax, 1
    call virtio_queue
    mov ebx, INFLATE
    xor eax, eax
    call virtio_queue
    mov dword ptr [r12 + VIRTIO_STATUS], VIRTIO_DRIVER_OK

    mov r14d, dword ptr [r12 + NUM_PAGES]
    cmp r14d, PAGES_MAX
    ja wrong
    call fill

    lea r15d, [r14 * 4] # bytes of numbers
    virtq_describe 0, NUMBERS, r15d, 0, 0
    virtq_offer 0
    virtio_notify 0
    call virtq_wait
    mov dword ptr [r12 + ACTUAL], r14d

    mov ebx, DEFLATE
    virtq_describe 0, NUMBERS, r15d, 0, 0
    virtq_offer 0
    virtio_notify 1
    call virtq_wait
    mov dword ptr [r12 + ACTUAL], 0

    call check
    mov eax, r14d
    call print_decimal
    print text
    exit 0
wrong:
    exit 1

# Note the numbers of r14d pages, and write to each. Changes rax, rcx and rdi.
fill:
    mov edi, PAGES
    xor ecx, ecx
fill_page:
    mov eax, edi
    shr eax, 12
    mov dword ptr [NUMBERS + rcx * 4], eax
    mov dword ptr [rdi], eax
    add edi, 0x1000
    inc ecx
    cmp ecx, r14d
    jb fill_page
    ret

# See that what was written is gone. Changes rcx and rdi.
check:
    mov edi, PAGES
    mov ecx, r14d
check_page:
    cmp dword ptr [rdi], 0
    jne wrong
    add edi, 0x1000
    dec ecx
    jnz check_page
    ret

.include "virtio64_code.inc"
.include "print64.inc"

text:
    .asciz " pages went to the host, and came back empty\n"
