"""The tables of a little kernel: descriptors, an IDT whose entries note what came, a TSS."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from asm import assemble
from emulib import CS, DS, ES, FS, GS, SS, TR, Machine, set_segment

GDT, IDT, TSS, HANDLERS, NOTES = 0x4000, 0x5000, 0x6000, 0xA000, 0x6800
KERNEL_STACK, IST_STACK = 0x7800, 0x7C00
START = 0x8000
CODE32, CODE64, DATA, USER_CODE32, USER_DATA, USER_CODE64, TSS_SELECTOR = range(8, 64, 8)
EXTRA = 0x48  # the first free selector
WITH_ERROR = (8, 10, 11, 12, 13, 14, 17)
PML4, PDPT, PD, PT = 0x1000, 0x2000, 0x3000, 0x10_0000


def descriptor(base: int, limit: int, access: int, flags: int) -> int:
    """Eight bytes of a descriptor; access is its byte 5, flags its bits 52 to 55."""
    return (
        limit & 0xFFFF
        | (base & 0xFFFFFF) << 16
        | access << 40
        | (limit >> 16 & 15) << 48
        | flags << 52
        | (base >> 24) << 56
    )


def flat_gdt() -> list[int]:
    """Null, code 32, code 64, data, and the same for users; then room for the TSS."""
    code, data, flags = 0x9A, 0x92, {32: 0xC, 64: 0xA}
    return [
        0,
        descriptor(0, 0xFFFFF, code, flags[32]),
        descriptor(0, 0xFFFFF, code, flags[64]),
        descriptor(0, 0xFFFFF, data, flags[32]),
        descriptor(0, 0xFFFFF, code | 0x60, flags[32]),
        descriptor(0, 0xFFFFF, data | 0x60, flags[32]),
        descriptor(0, 0xFFFFF, code | 0x60, flags[64]),
        descriptor(TSS, 0x67, 0x8B, 0),
        0,
    ]


@dataclass
class Fault:
    """What a handler found on its stack."""

    vector: int
    error: int
    rip: int
    cs: int
    flags: int
    rsp: int
    cr2: int


def handlers(bits: int) -> bytes:
    """An entry of 32 bytes per vector: push the vector, then the shared part notes all."""
    a, s = ("rax", "rsp") if bits == 64 else ("eax", "esp")
    word = bits // 8
    common = HANDLERS + 32 * 32
    code = b""
    for vector in range(32):
        push = "" if vector in WITH_ERROR else "push 0;"
        entry = assemble(f"{push} push {vector}; jmp {common}", HANDLERS + 32 * vector, bits)
        code += entry.ljust(32, b"\x90")
    b = "rbx" if bits == 64 else "ebx"
    data = "" if bits == 64 else f"mov {b}, {DATA}; mov ds, {b};"
    body = f"push {a}; push {b}; {data} mov {b}, {NOTES};"
    for slot in range(7):
        body += f"mov {a}, [{s} + {word * (slot + 2)}]; mov [{b} + {8 * slot}], {a};"
    body += f"mov {a}, cr2; mov [{b} + 64], {a}; pop {b}; pop {a}; hlt"
    return code + assemble(body, common, bits)


def gates(bits: int, count: int = 48) -> bytes:
    """An IDT: interrupt gates that users may reach by INT from 0x20 on."""
    entries = b""
    for vector in range(count):
        target = HANDLERS + 32 * (vector % 32)
        selector, access = (CODE64 if bits == 64 else CODE32), 0x8E if vector < 32 else 0xEE
        entry = struct.pack("<HHBBH", target & 0xFFFF, selector, 0, access, target >> 16)
        entries += entry + (struct.pack("<II", 0, 0) if bits == 64 else b"")
    return entries


def install(machine: Machine, bits: int) -> None:
    """Write all tables and load the registers that point at them."""
    machine.write(GDT, struct.pack("<9Q", *flat_gdt()))
    machine.write(HANDLERS, handlers(bits))
    machine.write(IDT, gates(bits))
    if bits == 64:
        tss = struct.pack("<IQQQQQ", 0, KERNEL_STACK, 0, 0, 0, IST_STACK)
    else:
        tss = struct.pack("<III", 0, KERNEL_STACK, DATA)
    machine.write(TSS, tss.ljust(0x66, b"\0") + b"\x68\0")  # no I/O bitmap
    state = machine.state()
    state.gdt.base, state.gdt.limit = GDT, 9 * 8 - 1
    state.idt.base, state.idt.limit = IDT, len(gates(bits)) - 1
    tr = state.segment[TR]
    tr.base, tr.limit, tr.selector, tr.type, tr.present, tr.s = TSS, 0x67, TSS_SELECTOR, 11, 1, 0
    machine.set_state(state)


def long_mode(machine: Machine, rip: int, user: bool = False, **registers: int) -> None:
    """Long mode with the tables installed; page tables as `Machine.enter` makes them."""
    machine.enter("user" if user else "long", rip, **registers)
    state = machine.state()
    state.segment[CS].selector = USER_CODE64 | 3 if user else CODE64
    state.segment[SS].selector = USER_DATA | 3 if user else DATA
    machine.set_state(state)
    install(machine, 64)


def protected(machine: Machine, text: str, *, user: bool = False, **registers: int) -> None:
    """Code at START in flat 32-bit protected mode, with the tables installed."""
    machine.write(START, assemble(text, START, 32))
    machine.enter("protected", START, **registers)
    install(machine, 32)
    state = machine.state()
    code, data, cpl = (USER_CODE32, USER_DATA, 3) if user else (CODE32, DATA, 0)
    set_segment(state.segment[CS], code | cpl, 11, cpl, db=1)
    for index in (SS, DS, ES, FS, GS):
        set_segment(state.segment[index], data | cpl, 3, cpl, db=1)
    state.gdt.limit = 0x7F
    machine.set_state(state)


def define(machine: Machine, selector: int, value: int) -> None:
    """Put a descriptor into the table."""
    machine.write(GDT + (selector & ~7), struct.pack("<Q", value))


def fault(machine: Machine) -> Fault:
    """What the handlers noted."""
    word = struct.unpack("<9Q", machine.read(NOTES, 72))
    return Fault(word[0], word[1], word[2], word[3], word[4], word[5], word[8])


def map_small(machine: Machine, gva: int, entry: int) -> None:
    """Map the 4 KiB page of `gva`, below 2 MiB, by an entry of its own in a table at PT."""
    if machine.read(PD, 8) != (PT | 7).to_bytes(8, "little"):
        table = b"".join((i << 12 | 7).to_bytes(8, "little") for i in range(512))
        machine.write(PT, table)
        machine.write(PD, (PT | 7).to_bytes(8, "little"))
    machine.write(PT + (gva >> 12) * 8, (entry & (2**64 - 1)).to_bytes(8, "little"))


def keep_from_users(machine: Machine, gva: int) -> None:
    """Let no page below 2 MiB but that of `gva` belong to users."""
    for gpa in range(PT, PT + 4096, 8):
        entry = int.from_bytes(machine.read(gpa, 8), "little")
        if gpa != PT + (gva >> 12) * 8:
            machine.write(gpa, (entry & ~4).to_bytes(8, "little"))
