"""Every virtio device, as the hostile tests want it: one line for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import plausible
from support.tape import Tape

from pykvm.virtio.balloon import Balloon
from pykvm.virtio.block import Block
from pykvm.virtio.console import Console, Port
from pykvm.virtio.device import Device
from pykvm.virtio.disk import MemoryDisk
from pykvm.virtio.entropy import Entropy
from pykvm.virtio.net import Net
from pykvm.virtio.vsock import Vsock


@dataclass(frozen=True)
class Subject:
    """A kind of device.

    Attributes:
        make: a new one.
        served: queues that it takes requests from as soon as it is notified.
        request: the readable part of something that it may be asked in a queue.
        poke: lets the host have something for the guest.
        is_whole: whether it holds no more than it should, between requests.
    """

    make: Callable[[], Device]
    served: tuple[int, ...]
    request: Callable[[Tape, int], bytes] = plausible.nothing
    poke: Callable[[Device], object] = lambda device: None
    is_whole: Callable[[Device], bool] = lambda device: True

    @property
    def tried(self) -> list[int]:
        """Queues worth a test each: those that are served, and one other."""
        count = len(self.make().queue_sizes)
        others = [index for index in range(count) if index not in self.served]
        return [*self.served, *others[:1]]


def _new_block() -> Device:
    return Block(MemoryDisk(1 << 16), queues=2)


def _keeps_its_size(device: Device) -> bool:
    disk = device.disk if isinstance(device, Block) else None
    return isinstance(disk, MemoryDisk) and len(disk.data) == disk.size_bytes


SUBJECTS = {
    "entropy": Subject(Entropy, served=(0,)),
    "block": Subject(
        _new_block, served=(0, 1), request=plausible.for_block, is_whole=_keeps_its_size
    ),
    "console": Subject(
        lambda: Console([Port(), Port(name="second")], size=(80, 25)),
        served=(1, 3, 5),
        request=plausible.for_console,
        poke=lambda device: isinstance(device, Console) and device.feed(b"typed"),
    ),
    "balloon": Subject(
        Balloon,
        served=(0, 1),
        request=plausible.for_balloon,
        poke=lambda device: isinstance(device, Balloon) and device.ask(),
    ),
    "net": Subject(
        Net,
        served=(1, 2),
        request=plausible.for_net,
        poke=lambda device: isinstance(device, Net) and device.inbox.put(b"\xff" * 6 + bytes(54)),
    ),
    "vsock": Subject(Vsock, served=(1,), request=plausible.for_vsock),
}
