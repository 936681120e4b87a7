"""Segmentation, gates, tasks, paging and virtual-8086 mode of 32-bit protected mode."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import kernel
import pytest
from asm import assemble
from emulib import FS, Machine
from kernel import (
    CODE32,
    DATA,
    EXTRA,
    GDT,
    START,
    TSS,
    USER_CODE32,
    USER_DATA,
    define,
    descriptor,
    protected,
)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(4 << 20) as machine:
        yield machine


@pytest.mark.parametrize(
    ("access", "limit", "text", "vector"),
    [
        (0x92, 0xFFF, "mov al, fs:[0xfff]", None),
        (0x92, 0xFFF, "mov al, fs:[0x1000]", 13),
        (0x92, 0xFFF, "mov eax, fs:[0xffd]", 13),
        (0x90, 0xFFF, "mov fs:[0], al", 13),
        (0x9A, 0xFFF, "mov al, fs:[0]", None),
        (0x9A, 0xFFF, "mov fs:[0], al", 13),
        (0x96, 0xFFF, "mov al, fs:[0xfff]", 13),
        (0x96, 0xFFF, "mov al, fs:[0x1000]", None),
        (0x12, 0xFFF, "nop", 11),
        (0x98, 0xFFF, "nop", 13),
    ],
)
def test_segments_limit_what_can_be_done(
    machine: Machine, access: int, limit: int, text: str, vector: int | None
) -> None:
    protected(machine, f"mov ecx, {EXTRA}; mov fs, ecx; {text}; ud2")
    define(machine, EXTRA, descriptor(0x1_0000, limit, access, 4))
    assert machine.run() == "HALT"
    assert kernel.fault(machine).vector == (6 if vector is None else vector)


def test_a_stack_segment_that_is_read_only_is_refused(machine: Machine) -> None:
    protected(machine, f"mov ecx, {EXTRA}; mov ss, ecx")
    define(machine, EXTRA, descriptor(0, 0xFFFFF, 0x90, 0xC))
    machine.run()
    found = kernel.fault(machine)
    assert (found.vector, found.error) == (13, EXTRA)


def test_interrupts_from_users_switch_to_the_stack_of_the_tss(machine: Machine) -> None:
    protected(machine, "int 0x21", user=True)
    machine.run()
    found = kernel.fault(machine)
    assert (found.vector, found.cs, found.rip) == (1, USER_CODE32 | 3, START + 2)
    frame = struct.unpack("<5I", machine.read(kernel.KERNEL_STACK - 20, 20))
    assert frame[3:] == (0x7000, USER_DATA | 3)


def test_a_call_gate_copies_parameters_and_ret_drops_them(machine: Machine) -> None:
    callee = "mov eax, [esp + 8]; mov ebx, [esp + 12]; .byte 0xca, 8, 0"
    machine.write(0x9000, assemble(callee, 0x9000, 32))
    text = "push 2; push 1; .byte 0x9a, 0, 0, 0, 0, 0x4b, 0; ud2"
    protected(machine, text, user=True)
    gate = 0x9000 | CODE32 << 16 | 2 << 32 | 0xEC << 40
    define(machine, EXTRA, gate)
    machine.run()
    found = kernel.fault(machine)
    assert (found.vector, found.cs) == (6, USER_CODE32 | 3)
    assert (machine.reg("rax"), machine.reg("rbx")) == (1, 2)
    outer = struct.unpack("<I", machine.read(kernel.KERNEL_STACK - 8, 4))[0]
    assert outer == 0x7000  # both parameters gone


def _task(machine: Machine, at: int, eip: int, **registers: int) -> None:
    words = [0] * 26
    words[8], words[9], words[14] = eip, 2, 0x7400
    words[10] = registers.get("eax", 0)
    words[18:24] = [DATA, CODE32, DATA, DATA, DATA, DATA]
    machine.write(at, struct.pack("<26I", *words))
    define(machine, EXTRA, descriptor(at, 0x67, 0x89, 0))


def test_a_call_to_a_task_switches_and_iret_returns(machine: Machine) -> None:
    machine.write(0x9000, assemble("inc eax; mov [0xb000], eax; iretd", 0x9000, 32))
    protected(machine, f"mov ebx, 5; .byte 0x9a, 0, 0, 0, 0, {EXTRA}, 0; mov ecx, 9; ud2")
    _task(machine, 0xB800, 0x9000, eax=41)
    machine.run()
    assert machine.read(0xB000, 1)[0] == 42
    assert (machine.reg("rbx"), machine.reg("rcx")) == (5, 9)
    assert machine.state().cr0 & 8  # TS
    back, flags = struct.unpack_from("<I32xI", machine.read(0xB800, 0x68))
    assert back & 0xFFFF == kernel.TSS_SELECTOR
    assert flags & 0x4000 == 0


def test_a_jump_to_a_task_marks_it_busy(machine: Machine) -> None:
    machine.write(0x9000, b"\xf4")
    protected(machine, f".byte 0xea, 0, 0, 0, 0, {EXTRA}, 0")
    _task(machine, 0xB800, 0x9000)
    assert machine.run() == "HALT"
    assert machine.read(GDT + EXTRA + 5, 1)[0] == 0x8B
    assert machine.read(GDT + kernel.TSS_SELECTOR + 5, 1)[0] == 0x89
    assert struct.unpack("<I", machine.read(TSS + 32, 4))[0] == START + 7


def test_a_task_gate_handles_an_exception(machine: Machine) -> None:
    machine.write(0x9000, assemble("pop eax; hlt", 0x9000, 32))
    protected(machine, "mov ax, 0xfff8; mov ds, ax")
    _task(machine, 0xB800, 0x9000)
    machine.write(kernel.IDT + 13 * 8, struct.pack("<HHBBH", 0, EXTRA, 0, 0x85, 0))
    assert machine.run() == "HALT"
    assert machine.reg("rax") == 0xFFF8


def test_virtual_8086_mode_and_back(machine: Machine) -> None:
    machine.write(0x2_0100, assemble("mov ax, cs; mov bx, 0x55; hlt", 0x100, 16))
    text = "push 0; push 0; push 0; push 0; push 0x3000; push 0x100; push 0x20002; push 0x2000"
    protected(machine, text + "; push 0x100; iretd")
    machine.run()
    found = kernel.fault(machine)
    assert (found.vector, found.cs, found.rip) == (13, 0x2000, 0x105)
    assert found.flags & 0x20000
    assert (machine.reg("rax"), machine.reg("rbx")) == (0x2000, 0x55)
    assert machine.state().segment[FS].unusable


@pytest.mark.parametrize("pae", [False, True])
def test_paging_with_32_bits(machine: Machine, pae: bool) -> None:
    """The page at 0x20000 maps to 0x30000, the rest to itself by one large page."""
    if pae:
        machine.write(0x1000, struct.pack("<4Q", 0x2001, 0, 0, 0))
        machine.write(0x2000, struct.pack("<Q", 0x3007))
        pages = b"".join(struct.pack("<Q", i << 12 | 7) for i in range(512))
        machine.write(0x3000, pages)
        machine.write(0x3000 + 8 * 0x20, struct.pack("<Q", 0x3_0007))
    else:
        machine.write(0x1000, struct.pack("<I", 0x2007))
        machine.write(0x2000, b"".join(struct.pack("<I", i << 12 | 7) for i in range(1024)))
        machine.write(0x2000 + 4 * 0x20, struct.pack("<I", 0x3_0007))
    text = """mov eax, cr4; or eax, {}; mov cr4, eax; mov eax, 0x1000; mov cr3, eax
        mov eax, cr0; or eax, 0x80000000; mov cr0, eax; mov ebx, [0x20000]; hlt"""
    machine.write(0x3_0000, b"\x77\0\0\0")
    protected(machine, text.format(0x20 if pae else 0x10))
    assert machine.run() == "HALT"
    assert machine.reg("rbx") == 0x77


def test_16_bit_code_wraps_its_stack(machine: Machine) -> None:
    machine.write(START, assemble("push ax; pop bx; hlt", START, 16))
    machine.enter("real", START, rsp=0, rax=0x1234)
    assert machine.run() == "HALT"
    assert (machine.read(0xFFFE, 2), machine.reg("rbx")) == (b"\x34\x12", 0x1234)
