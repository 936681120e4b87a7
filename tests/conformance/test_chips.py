"""The interrupt chips held to KVM's own: random accesses, and every answer compared."""

from __future__ import annotations

import os
import random
import re
import struct
from collections.abc import Callable

import pytest

from pykvm import Machine, layout
from pykvm.backend import open_backend
from pykvm.errors import KvmUnavailable
from pykvm.loader.image import Image, Mode
from pykvm.result import Outcome

LINE_PORT, ANSWER_PORT, EXIT_PORT = 0xE0, 0xE4, layout.EXIT_PORT
STEPS = 150
LAPIC, IOAPIC = layout.LAPIC_BASE, layout.IOAPIC_BASE
PIC_PORTS = (0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1)
PIT_PORTS = (0x40, 0x41, 0x42, 0x43)
# Registers whose values do not depend on time.
LAPIC_READ = (
    0x20, 0x30, 0x80, 0xA0, 0xD0, 0xE0, 0xF0, *range(0x100, 0x280, 0x10), 0x310,
    0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x380, 0x3E0,
)  # fmt: skip
LAPIC_WRITTEN = (0x80, 0xB0, 0xD0, 0xE0, 0xF0, 0x310, 0x330, 0x340, 0x350, 0x360, 0x370, 0x3E0)
SELF_IPI = 0x4_4000


class Program:
    """Code that makes the accesses and hands each answer out by a port."""

    def __init__(self) -> None:
        self.code = b""
        self.steps: list[str] = []

    def _set(self, edx: int, eax: int) -> None:
        self.code += b"\xba" + struct.pack("<I", edx) + b"\xb8" + struct.pack("<I", eax)

    def _answer(self) -> None:
        self.code += b"\xba" + struct.pack("<I", ANSWER_PORT) + b"\xef"

    def out(self, port: int, value: int) -> None:
        self._set(port, value)
        self.code += b"\xee"
        self.steps.append(f"out {port:#x}, {value:#x}")

    def inp(self, port: int, mask: int = 0xFF) -> None:
        self._set(port, 0)
        self.code += b"\xec\x25" + struct.pack("<I", mask)  # and eax, mask
        self._answer()
        self.steps.append(f"in {port:#x}")

    def write(self, address: int, value: int) -> None:
        self._set(address, value)
        self.code += b"\x89\x02"
        self.steps.append(f"write {address:#x}, {value:#x}")

    def read(self, address: int) -> None:
        self._set(address, 0)
        self.code += b"\x8b\x02"
        self._answer()
        self.steps.append(f"read {address:#x}")

    def line(self, gsi: int, level: int) -> None:
        self.out(LINE_PORT, gsi | level << 7)
        self.steps[-1] = f"line {gsi} {'up' if level else 'down'}"

    def finish(self) -> Image:
        self.out(EXIT_PORT, 0)
        return Image("accesses", Mode.LONG, layout.LOAD_BASE, ((layout.LOAD_BASE, self.code),))


class Wires:
    """The ports by which programs drive lines and hand out what they read."""

    def __init__(self, vm: Machine) -> None:
        self._vm = vm
        self.found: list[int] = []

    def read(self, offset: int, size_bytes: int) -> int:
        """Nothing to read."""
        return 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """A line's number and level, or an answer."""
        if offset:
            self.found.append(value)
        else:
            self._vm.vm.set_irq_line(value & 0x7F, bool(value & 0x80))


def answers(backend: str, image: Image) -> list[int]:
    """What the accesses read on a backend."""
    with Machine("2M", backend=backend, irqchip="full", pit=True) as vm:
        wires = Wires(vm)
        vm.ports.claim(LINE_PORT, 8, wires, "wires")
        vm.load(image)
        result = vm.run(timeout=20)
        assert result.outcome is Outcome.EXIT, result.reason
        return wires.found


# Before Linux 6.5 KVM's 8259 gives the poll command's answer in another form.
KVM_POLLS = [int(each) for each in re.findall(r"\d+", os.uname().release)[:2]] >= [6, 5]


def pic(pick: random.Random, program: Program) -> None:
    """Words of initialization are rare: they forget everything."""
    port = pick.choice(PIC_PORTS)
    match pick.randrange(4):
        case 0:
            program.line(pick.choice((1, 3, 4, 5, 8, 9, 12, 15)), pick.randrange(2))
        case 1:
            program.inp(port)
        case _:
            value = pick.randrange(256)
            if port in (0x20, 0xA0) and pick.random() < 0.8:
                value &= 0xEF
            if port in (0x20, 0xA0) and value & 0x18 == 8 and not KVM_POLLS:
                value &= ~4
            program.out(port, value)


def ioapic(pick: random.Random, program: Program) -> None:
    index = pick.choice((0, 1, 2, *range(0x10, 0x40)))
    match pick.randrange(4):
        case 0:
            program.line(pick.randrange(24), pick.randrange(2))
        case 1:
            # Fixed delivery to processor 0 or nobody; levels, masks, reserved bits at random.
            low = pick.randrange(1 << 17) & 0x1F0FF | pick.choice((0x20, 0x40))
            program.write(IOAPIC, index)
            program.write(IOAPIC + 0x10, low if index < 0x10 or index % 2 == 0 else 0)
        case _:
            program.write(IOAPIC, index)
            program.read(IOAPIC + 0x10)


def lapic(pick: random.Random, program: Program) -> None:
    match pick.randrange(6):
        case 0:
            program.write(LAPIC + 0x300, SELF_IPI | pick.randrange(16, 256))
        case 1 | 2:
            register = pick.choice(LAPIC_WRITTEN)
            value = pick.getrandbits(32)
            if register == 0x80:
                value &= ~0xF  # AMD-V keeps the task priority's upper half alone, as CR8 does
            if register in (0x330, 0x340, 0x350, 0x360, 0x370):
                value &= 0xFFFF_F0FF  # no delivery modes but fixed
            program.write(LAPIC + register, value)
        case 3:
            program.write(LAPIC + 0xF0, 0x1FF)
        case _:
            program.read(LAPIC + pick.choice(LAPIC_READ))


def pit(pick: random.Random, program: Program) -> None:
    """Channel 1 and 2 where their counts stand still for long: status and latches alone."""
    channel = pick.choice((1, 2))
    mode = pick.choice((0, 2, 3, 4))
    program.out(0x43, channel << 6 | 0x30 | mode << 1)
    program.out(0x40 + channel, 0xFF)
    program.out(0x40 + channel, 0xFF)
    program.out(0x61, pick.randrange(4))
    program.inp(0x61, 3)  # the other bits change with time
    program.out(0x43, 0xE0 | 2 << channel)  # status
    program.inp(0x40 + channel)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("chip", [pic, ioapic, lapic, pit], ids=lambda each: each.__name__)
def test_the_chips_answer_as_those_of_kvm_do(
    chip: Callable[[random.Random, Program], None], seed: int
) -> None:
    try:
        open_backend("kvm")
    except KvmUnavailable as error:
        pytest.skip(f"no KVM to compare with: {error}")
    pick, program = random.Random(f"{chip.__name__} {seed}"), Program()
    if chip is not pit:
        program.write(LAPIC + 0xF0, 0x1FF)
    for _ in range(STEPS):
        chip(pick, program)
    image = program.finish()
    wrong = mismatch(program, answers("kvm", image), answers("emu", image))
    assert wrong is None, wrong


def mismatch(program: Program, expected: list[int], found: list[int]) -> str | None:
    """The first answer that differs, with what went before."""
    if expected == found:
        return None
    at = next(i for i, pair in enumerate(zip(expected, found, strict=True)) if pair[0] != pair[1])
    reads = [i for i, step in enumerate(program.steps) if step.startswith(("in", "read"))]
    before = "; ".join(program.steps[max(0, reads[at] - 40) : reads[at] + 1])
    return f"KVM {expected[at]:#x}, emulator {found[at]:#x} after {before}"
