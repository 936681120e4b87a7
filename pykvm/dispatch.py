"""Offering exits to the buses: which device answers, and with what."""

from __future__ import annotations

from collections.abc import Callable

from pykvm.backend.protocol import RawExit, Vcpu
from pykvm.backend.routes import Route
from pykvm.bus import Bus
from pykvm.exits import (
    Exit,
    Hypercall,
    IoapicEoi,
    IrqWindow,
    MmioRead,
    MmioWrite,
    MsrRead,
    MsrWrite,
    PortIn,
    PortOut,
)

# What serves a hypercall: the answer in RAX, or None where it does not know that one either.
HypercallHandler = Callable[[Hypercall], int | None]
KVM_ENOSYS = 1000  # linux/kvm_para.h


class Dispatch:
    """The two buses of a machine, as exits see them, and who serves its hypercalls."""

    hypercall: HypercallHandler | None = None

    def __init__(self, ports: Bus, mmio: Bus) -> None:
        self.ports = ports
        self.mmio = mmio

    def handle(self, vcpu: Vcpu, exit: Exit) -> bool:
        """Do what an exit asks for; False where that is for nobody here to do.

        Raises:
            UnclaimedAccess: no device claims the port or address.
        """
        match exit:
            case PortOut(port, size):
                for value in _elements(exit.data, size):
                    self.ports.write(port, size, value)
            case PortIn(port, size, count):
                values = [
                    self.ports.read(port, size).to_bytes(size, "little") for _ in range(count)
                ]
                vcpu.answer(exit, b"".join(values))
            case MmioWrite(gpa, size):
                self.mmio.write(gpa, size, exit.value)
            case MmioRead(gpa, size):
                vcpu.answer(exit, self.mmio.read(gpa, size))
            case MsrRead() | MsrWrite():
                vcpu.answer(exit, 0, fault=True)
            case Hypercall():
                answer = self.hypercall(exit) if self.hypercall else None
                vcpu.answer(exit, -KVM_ENOSYS if answer is None else answer)
            case IrqWindow() | IoapicEoi():
                pass
            case _:
                return False
        return True

    def route(self, exit: Exit, raw: RawExit) -> Route | None:
        """What answers every exit with this one's key.

        None where each such exit has to be looked at.
        """
        mmio = self.mmio
        match exit:
            case PortOut(port, size, _, 1):
                return self.ports.writer(port, size)
            case PortIn(port, size, 1) if read := self.ports.reader(port, size):
                return _route(lambda: setattr(raw, "value", read()))
            case MmioWrite():
                write = mmio.write
                return lambda *_: write(raw.address, raw.size, raw.value), 0, 0
            case MmioRead():
                return _route(lambda: setattr(raw, "value", mmio.read(raw.address, raw.size)))
        return None


def _route(answer: Callable[[], None]) -> Route:
    return lambda *_: answer(), 0, 0


def _elements(data: bytes, size: int) -> list[int]:
    return [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]
