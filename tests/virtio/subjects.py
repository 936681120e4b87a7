"""Every virtio device, as the hostile tests want it: one line for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pykvm.virtio.device import Device
from pykvm.virtio.entropy import Entropy


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


SUBJECTS = {
    "entropy": Subject(Entropy, served=(0,)),
}
