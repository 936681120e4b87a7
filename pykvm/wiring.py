"""What stands behind a device that a guest asks for by name: a network of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pykvm.memory import GuestMemory
from pykvm.net.port import Port, connect
from pykvm.net.responder import Responder
from pykvm.virtio.net import Net

if TYPE_CHECKING:
    from pykvm.devices.nic.card import Nic82540em

NIC_MAC = "52:54:00:00:00:02"


def answer(port: Port) -> None:
    """Put a responder at the other end of a port's cable."""
    connect(port, Responder().port)


def net() -> Net:
    """A virtio network device with a responder behind it."""
    device = Net()
    answer(device.port)
    return device


def nic(
    memory: GuestMemory,
    set_line: Callable[[bool], None],
    post: Callable[[Callable[[], None], float], None],
    mac: str,
) -> Nic82540em:
    """A network card; few machines have one, so only those load its code."""
    from pykvm.devices.nic.card import Nic82540em

    return Nic82540em(memory, set_line, post, mac)
