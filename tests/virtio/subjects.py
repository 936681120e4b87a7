"""Every virtio device, as the hostile tests want it: one line for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pykvm.virtio.balloon import Balloon
from pykvm.virtio.block import Block
from pykvm.virtio.console import Console, Port
from pykvm.virtio.device import Device
from pykvm.virtio.entropy import Entropy
from pykvm.virtio.net import Net
from pykvm.virtio.vsock import Vsock


@dataclass(frozen=True)
class Subject:
    """A kind of device.

    Attributes:
        make: a new one.
        served: queues that it takes requests from as soon as it is notified.
        poke: lets the host have something for the guest.
    """

    make: Callable[[], Device]
    served: tuple[int, ...]
    poke: Callable[[Device], object] = lambda device: None

    @property
    def tried(self) -> list[int]:
        """Queues worth a test each: those that are served, and one other."""
        count = len(self.make().queue_sizes)
        others = [index for index in range(count) if index not in self.served]
        return [*self.served, *others[:1]]


SUBJECTS = {
    "entropy": Subject(Entropy, served=(0,)),
    "block": Subject(partial(Block, queues=2), served=(0, 1)),
    "console": Subject(
        lambda: Console([Port(), Port()], size=(80, 25)),
        served=(1, 3, 5),
        poke=lambda device: isinstance(device, Console) and device.feed(b"typed"),
    ),
    "balloon": Subject(Balloon, served=(0, 1)),
    "net": Subject(
        Net,
        served=(1, 2),
        poke=lambda device: isinstance(device, Net) and device.inbox.put(b"\xff" * 6 + bytes(54)),
    ),
    "vsock": Subject(Vsock, served=(1,)),
}
