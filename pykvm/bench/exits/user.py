"""Exits that are handled in user space, each answered natively and by a Python method."""

from __future__ import annotations

from pykvm import layout
from pykvm.bench.exits.loop import Loop
from pykvm.bench.exits.row import Row, guest_row
from pykvm.machine import Machine

PORT = layout.SCRATCH_PORT
GPA = layout.SCRATCH_BASE
STRING_BASE = 0x30_0000
_SPACE = 8  # bytes that the measured device claims

_IO = "VMX 30, SVM 7bh"
_MMIO = "VMX 48, SVM 400h"
_REGISTER = {1: "al", 2: "ax", 4: "eax", 8: "rax"}
_PORT_SUFFIX = {1: "b", 2: "w", 4: "d"}


class _Handler:
    """The smallest device that Python can answer with."""

    def read(self, offset: int, size_bytes: int) -> int:
        return 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        pass


def _claim(machine: Machine) -> None:
    if not machine.ports.claims or machine.ports.find(PORT, 1) is None:
        machine.ports.claim(PORT, _SPACE, _Handler(), "measured")
        machine.mmio.claim(GPA, _SPACE, _Handler(), "measured")


def _answer_natively(machine: Machine) -> None:
    if machine.ports.find(PORT, 1) is None:
        machine.ports.claim(PORT, _SPACE, _Handler(), "never reached")
        machine.vm.add_scratch(PORT, _SPACE, port=True)
        machine.vm.add_scratch(GPA, _SPACE)


_ANSWERS = {"native": _answer_natively, "python": _claim}


def _rows() -> list[Row]:
    rows = []
    for answer, prepare in _ANSWERS.items():
        for size in (1, 2, 4):
            register = _REGISTER[size]
            for way, operation in (("out", f"out dx, {register}"), ("in", f"in {register}, dx")):
                loop = Loop(f"mov edx, {PORT:#x}\n    {operation}", prepare=prepare)
                rows.append(
                    guest_row(f"port {way} {size} B, {answer}", "user", loop, "KVM_RUN", _IO)
                )
        for size in (16, 4096):
            for way, operation in (("outs", "rep outsb"), ("ins", "rep insb")):
                loop = Loop(
                    f"mov edx, {PORT:#x}\n    mov esi, {STRING_BASE:#x}\n"
                    f"    mov edi, {STRING_BASE:#x}\n    mov ecx, {size}\n    {operation}",
                    prepare=prepare,
                )
                rows.append(
                    guest_row(f"port {way} {size} B, {answer}", "user", loop, "KVM_RUN", _IO)
                )
        for size in (1, 2, 4, 8):
            register = _REGISTER[size]
            for way, operation in (
                ("write", f"mov [rbx], {register}"),
                ("read", f"mov {register}, [rbx]"),
            ):
                loop = Loop(operation, setup=f"mov rbx, {GPA:#x}", prepare=prepare)
                rows.append(
                    guest_row(f"MMIO {way} {size} B, {answer}", "user", loop, "KVM_RUN", _MMIO)
                )
    return rows


ROWS = tuple(_rows())
