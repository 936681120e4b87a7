"""The places for virtio-mmio devices in a machine, and how guests find what is in them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from pykvm import layout
from pykvm.backend.protocol import Vm
from pykvm.bus import Bus
from pykvm.errors import UsageError
from pykvm.memory import GuestMemory
from pykvm.turn import Backlog
from pykvm.virtio import spec
from pykvm.virtio.device import Device
from pykvm.virtio.events import Doorbells, Line
from pykvm.virtio.mmio import Mmio
from pykvm.worker import Worker

_TABLE_HEAD, _TABLE_ENTRY = struct.Struct("<QQ"), struct.Struct("<QII")


class Place(NamedTuple):
    """Where a device is: its registers and its line."""

    gpa: int
    gsi: int


class Board:
    """A machine's virtio devices.

    Args:
        doorbells: notifications come by ioeventfds; otherwise they exit.
        irqfds: lines are raised by irqfds, which take the full irqchip.
        backlog: takes what devices put off.
        clock_ns: the machine's clock, for their turns.
    """

    def __init__(
        self, vm: Vm, memory: GuestMemory, mmio: Bus, worker: Worker,
        *, doorbells: bool, irqfds: bool, backlog: Backlog, clock_ns: Callable[[], int],
    ) -> None:  # fmt: skip
        self._vm = vm
        self._memory = memory
        self._mmio = mmio
        self._worker = worker
        self._doorbells = doorbells
        self._irqfds = irqfds
        self._open: list[Doorbells | Line] = []
        self.devices: list[Device] = []
        self._backlog = backlog
        self._clock_ns = clock_ns

    def add(self, device: Device) -> None:
        """Put a device into the next place.

        Raises:
            UsageError: there is none left, or the device belongs to a machine already.
            BusError: something else is there.
        """
        if not isinstance(device, Device):
            raise UsageError(f"a virtio device is a Device, such as Block(), not {device!r}")
        device.check_new()
        number = len(self.devices)
        if number == layout.VIRTIO_COUNT:
            raise UsageError(f"a machine has {number} virtio devices at most")
        gpa, gsi = _place(number)
        name = f"virtio-{type(device).__name__.lower()}"
        self._mmio.reserve(gpa, layout.VIRTIO_STRIDE, name)  # before anything is changed
        device.worker = self._worker
        device.turn.clock_ns = self._clock_ns
        registers = Mmio(
            device, self._memory, self._line(gsi), self.put_off, self._backlog.work_off
        )
        if self._doorbells:
            count = len(device.queues)
            self._open.append(Doorbells(self._vm, self._worker, gpa, count, device.notify))
        self._mmio.claim(gpa, layout.VIRTIO_STRIDE, registers, name)
        self.devices.append(device)

    def put_off(self, work: Callable[[], None]) -> None:
        """Let the machine do this later: on its own thread what comes from there."""
        if self._worker.is_current:
            self._worker.post(work)
        else:
            self._backlog.add(work)

    def _line(self, gsi: int) -> Callable[[bool], None]:
        if not self._irqfds:
            return partial(self._vm.set_irq_line, gsi)
        line = Line(self._vm, self._worker, gsi)
        self._open.append(line)
        return line.set

    @property
    def is_shared(self) -> bool:
        """Whether more threads than the processors' come to the devices."""
        return bool(self._open) or any(device.asynchronous for device in self.devices)

    @property
    def places(self) -> list[Place]:
        """Of the devices, in order."""
        return [_place(number) for number in range(len(self.devices))]

    def table(self) -> bytes:
        """For layout.VIRTIO_TABLE_BASE: how many there are; place, line and type of each."""
        entries = (
            _TABLE_ENTRY.pack(*place, device.device_id)
            for place, device in zip(self.places, self.devices, strict=True)
        )
        return _TABLE_HEAD.pack(len(self.devices), 0) + b"".join(entries)

    def command_line(self) -> str:
        """The same for a kernel that reads `virtio_mmio.device=`, and gets no ACPI tables."""
        return " ".join(
            f"virtio_mmio.device={spec.MMIO_SIZE}@{gpa:#x}:{gsi}:{number}"
            for number, (gpa, gsi) in enumerate(self.places)
        )

    def close(self) -> None:
        """Give everything back; the machine's thread has ended."""
        for each in (*self.devices, *self._open):
            each.close()
        for device in self.devices:
            device.is_closed = True


def _place(number: int) -> Place:
    return Place(layout.VIRTIO_BASE + number * layout.VIRTIO_STRIDE, layout.VIRTIO_IRQ + number)
