# /// pykvm
# mode = "long"
# irqchip = "full"
# devices = ["debugcon", "exit", "nic"]
#
# [expect]
# output = "4 pings, 4 answers\n"
# outcome = "exit"
# exit_code = 0
# ///

# Pings by the 82540EM network card: descriptors in two rings, and an interrupt for each frame that
# comes; the guest sleeps between. As in net_ping.S it asks 10.0.0.1, or is it where the command line
# says "pong". The card holds its line high until ICR is read, so the I/O APIC takes its level.
#
# Source: Intel 8254x Software Developer's Manual (317453) §3.2.3, §3.3.3 (descriptors), §13.4
# (registers); Intel 82093AA data sheet (290566) §3.2.4.

.include "macros.inc"
.include "lapic64.inc"
.include "net64.inc"

NIC_CTRL = 0x0000
NIC_ICR = 0x00C0
NIC_IMS = 0x00D0
NIC_RCTL = 0x0100
NIC_TCTL = 0x0400
NIC_RDBAL = 0x2800
NIC_RDLEN = 0x2808
NIC_RDT = 0x2818
NIC_TDBAL = 0x3800
NIC_TDLEN = 0x3808
NIC_TDT = 0x3818
NIC_RAL = 0x5400

CTRL_SLU = 1 << 6 # link up
IMS_RXT0 = 1 << 7
RCTL_EN_BAM_SECRC = 1 << 1 | 1 << 15 | 1 << 26 # broadcasts too, no FCS, buffers of 2 KiB
TCTL_EN_PSP = 1 << 1 | 1 << 3
TX_EOP_IFCS_RS = 0x0B
DD = 1

RECEIVE_RING = 0x20000
TRANSMIT_RING = 0x21000
RING_ENTRIES = 8
IOAPIC_DATA = IOAPIC_BASE + 0x10
REDIRECTION = 0x10 + 2 * NIC_IRQ
LEVEL = 1 << 15
NIC_VECTOR = 0x30

    gate NIC_VECTOR, interrupt
    call load_idt
    mov bl, 0xFF
    call start_pic
    lapic_write LAPIC_SPURIOUS, LAPIC_ENABLE
    mov edi, IOAPIC_BASE
    mov esi, IOAPIC_DATA
    mov dword ptr [rdi], REDIRECTION + 1
    mov dword ptr [rsi], 0
    mov dword ptr [rdi], REDIRECTION
    mov dword ptr [rsi], LEVEL + NIC_VECTOR

    mov r12d, NIC_BASE
    mov dword ptr [r12 + NIC_CTRL], CTRL_SLU
    lea rdi, [rip + net_mac]
    mov eax, dword ptr [r12 + NIC_RAL]
    stosd
    mov eax, dword ptr [r12 + NIC_RAL + 4]
    stosw

    mov dword ptr [r12 + NIC_RDBAL], RECEIVE_RING
    mov dword ptr [r12 + NIC_RDLEN], RING_ENTRIES * 16
    mov dword ptr [r12 + NIC_TDBAL], TRANSMIT_RING
    mov dword ptr [r12 + NIC_TDLEN], RING_ENTRIES * 16
    mov dword ptr [r12 + NIC_TCTL], TCTL_EN_PSP
    mov dword ptr [r12 + NIC_RCTL], RCTL_EN_BAM_SECRC
    mov dword ptr [r12 + NIC_IMS], IMS_RXT0
    xor r13d, r13d # next transmit descriptor
    xor r14d, r14d # next receive descriptor
    call net_give_buffer
    call net_play
    exit 0

# The frame goes out before the write to TDT is over.
net_send:
    mov edi, r13d
    shl edi, 4
    add edi, TRANSMIT_RING
    mov qword ptr [rdi], NET_TX
    mov dword ptr [rdi + 8], ecx
    mov dword ptr [rdi + 12], 0
    mov byte ptr [rdi + 11], TX_EOP_IFCS_RS
    inc r13d
    and r13d, RING_ENTRIES - 1
    mov dword ptr [r12 + NIC_TDT], r13d
net_send_wait:
    test byte ptr [rdi + 12], DD
    jz net_send_wait
    ret

# Sleep until the descriptor that has the buffer is done, then give the buffer to the next.
net_receive:
    cli
    test byte ptr [rbx + 12], DD
    jnz net_received
    sti
    hlt
    jmp net_receive
net_received:
    mov esi, NIC_BUFFER # so that the next frame cannot run over this one
    mov edi, NET_RX
    mov ecx, 1514
    rep movsb
net_give_buffer:
    mov ebx, r14d
    shl ebx, 4
    add ebx, RECEIVE_RING
    mov qword ptr [rbx], NIC_BUFFER
    mov qword ptr [rbx + 8], 0
    inc r14d
    and r14d, RING_ENTRIES - 1
    mov dword ptr [r12 + NIC_RDT], r14d
    ret

NIC_BUFFER = 0x28000

interrupt:
    push rax
    push rdx
    mov eax, dword ptr [r12 + NIC_ICR] # reading it lowers the line
    lapic_write LAPIC_EOI, 0
    pop rdx
    pop rax
    iretq

net_mac:
    .zero 6

.include "net64_code.inc"
.include "print64.inc"
.include "idt64.inc"
.include "pic64.inc"
