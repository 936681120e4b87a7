"""A machine with interrupt chips, for tests: programs in long mode with handlers of their own."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping

import kernel
from asm import assemble
from emulib import Machine

START, HANDLER_BASE, HANDLER_BYTES = 0x8000, 0x2_0000, 0x100
IDT, CHIPS_PD = 0x4_0000, 0x5_0000
END_PORT = 0xF4  # a word written to it ends the program
LAPIC, IOAPIC = 0xFEE0_0000, 0xFEC0_0000
FULL, SPLIT = 1, 2
TIMEOUT_NS = 10_000_000_000
END = f"mov dx, {END_PORT}; out dx, eax"
# The 8259s as guests set them up: vectors 20h and 28h, everything masked.
START_PIC = """
    mov al, 0x11; out 0x20, al; out 0xa0, al; mov al, 0x20; out 0x21, al; mov al, 0x28
    out 0xa1, al; mov al, 4; out 0x21, al; mov al, 2; out 0xa1, al; mov al, 1; out 0x21, al
    out 0xa1, al; mov al, 0xff; out 0x21, al; out 0xa1, al
"""


def lapic(register: int, value: int) -> str:
    """A write to the local APIC's page. Changes rdx and eax."""
    return f"mov edx, {LAPIC + register}; mov eax, {value}; mov [rdx], eax;"


def ioapic(index: int, value: int) -> str:
    """A write to a register of the I/O APIC. Changes rdx and eax."""
    return f"""mov edx, {IOAPIC}; mov eax, {index}; mov [rdx], eax;
        mov eax, {value}; mov [rdx + 0x10], eax;"""


LAPIC_ON = lapic(0xF0, 0x1FF)
LAPIC_EOI = lapic(0xB0, 0)
PIC_EOI = "mov al, 0x20; out 0x20, al;"


class Board(Machine):
    """A machine of up to four processors with chips.

    Args:
        kind: FULL or SPLIT.
        wall: by the wall clock; the default is the instruction clock.
    """

    def __init__(self, kind: int = FULL, cpus: int = 1, *, wall: bool = False) -> None:
        self.kind, self.wall = kind, wall
        super().__init__(4 << 20, cpus)
        deadline = time.monotonic_ns() + TIMEOUT_NS
        for cpu in self.cpus:
            self.lib.emu_cpu_begin(cpu, deadline)

    def prepare(self) -> None:
        assert self.lib.emu_vm_create_irqchip(self.vm, self.kind) == 0
        if self.kind == FULL:
            assert self.lib.emu_vm_create_pit(self.vm) == 0
        self.lib.emu_vm_set_instruction_clock(self.vm, not self.wall)

    def load(self, text: str, handlers: Mapping[int, str] | None = None, **registers: int) -> None:
        """Put a program at START in long mode, and handlers that end by IRETQ."""
        self.write(START, assemble(text, START))
        kernel.long_mode(self, START, **registers)
        self._map_chips()
        state = self.state()
        state.idt.limit = 256 * 16 - 1
        state.idt.base = IDT
        self.write(IDT, kernel.gates(64, 32))
        self.set_state(state)
        for vector, body in (handlers or {}).items():
            self.handle(vector, f"push rax; push rdx; {body}\n pop rdx; pop rax; iretq")

    def _map_chips(self) -> None:
        """The last GiB below 4: where the APICs are."""
        entries = (3 << 30 | i << 21 | 0x83 for i in range(512))
        self.write(CHIPS_PD, b"".join(entry.to_bytes(8, "little") for entry in entries))
        self.write(kernel.PDPT + 3 * 8, (CHIPS_PD | 7).to_bytes(8, "little"))

    def handle(self, vector: int, text: str) -> None:
        """Point a gate at code of its own."""
        address = HANDLER_BASE + vector * HANDLER_BYTES
        code = assemble(text, address)
        assert len(code) <= HANDLER_BYTES
        self.write(address, code)
        gate = struct.pack(
            "<HHBBHII", address & 0xFFFF, kernel.CODE64, 0, 0x8E, address >> 16, 0, 0
        )
        self.write(IDT + vector * 16, gate)

    def end(self) -> int:
        """Run to the write to END_PORT; what was written."""
        kind = self.run()
        assert kind == "PORT_OUT" and self.exit.address == END_PORT, kind
        return int(self.exit.value)
