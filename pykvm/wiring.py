"""The devices that a guest can ask for by name, and what stands behind a network card.

Few machines have any of them, so only those load their code: each library that a process has
mapped makes KVM_CREATE_VM longer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pykvm.memory import GuestMemory
from pykvm.virtio.device import Device

if TYPE_CHECKING:
    from pykvm.devices.nic.card import Nic82540em
    from pykvm.net.port import Port

NIC_MAC = "52:54:00:00:00:02"


def answer(port: Port) -> None:
    """Put a responder at the other end of a port's cable."""
    from pykvm.net.port import connect
    from pykvm.net.responder import Responder

    connect(port, Responder().port)


def net() -> Device:
    """A virtio network device with a responder behind it."""
    from pykvm.virtio.net import Net

    device = Net()
    answer(device.port)
    return device


def balloon() -> Device:
    """A balloon that would like a mebibyte."""
    from pykvm.virtio.balloon import Balloon

    return Balloon("1M")


def block() -> Device:
    """A small disk in memory."""
    from pykvm.virtio.block import Block

    return Block()


def console() -> Device:
    """A console on the machine's output."""
    from pykvm.virtio.console import Console

    return Console()


def entropy() -> Device:
    """The host's random bytes."""
    from pykvm.virtio.entropy import Entropy

    return Entropy()


def vsock() -> Device:
    """Sockets that lead nowhere yet."""
    from pykvm.virtio.vsock import Vsock

    return Vsock()


VIRTIO_DEVICES: dict[str, Callable[[], Device]] = {
    "virtio-balloon": balloon,
    "virtio-block": block,
    "virtio-console": console,
    "virtio-entropy": entropy,
    "virtio-net": net,
    "virtio-vsock": vsock,
}


def nic(
    memory: GuestMemory,
    set_line: Callable[[bool], None],
    post: Callable[[Callable[[], None], float], None],
    mac: str,
    later: Callable[[Callable[[], None]], None],
    work_off: Callable[[], None],
) -> Nic82540em:
    """A network card."""
    from pykvm.devices.nic.card import Nic82540em

    return Nic82540em(memory, set_line, post, mac, later=later, work_off=work_off)
