"""What stands behind a device that a guest asks for by name: a network of its own."""

from __future__ import annotations

from pykvm.net.port import connect
from pykvm.net.responder import Responder
from pykvm.virtio.net import Net


def net() -> Net:
    """A virtio network device with a responder at the other end of its cable."""
    device = Net()
    connect(device.port, Responder().port)
    return device
