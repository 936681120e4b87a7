"""The two guests that ping 10.0.0.1, at whatever the other end of their cable is."""

from __future__ import annotations

from pathlib import Path

from pykvm.guest import load_guest
from pykvm.machine import Machine
from pykvm.net.port import Port, connect
from pykvm.result import Outcome
from pykvm.virtio.net import Net

GUESTS = Path(__file__).parents[2] / "guests"
NAMES = ("net_ping", "nic_ping")  # by virtio, and by the 82540EM
ANSWERED = b"4 pings, 4 answers\n"


def ping(name: str, backend: str, port: Port) -> bytes:
    """What the guest prints; it has ended by itself."""
    guest = load_guest(GUESTS / f"{name}.S")
    options = guest.options() | {"devices": ("debugcon", "exit"), "append": "ping"}
    with Machine(**options, backend=backend) as vm:  # type: ignore[arg-type]
        if name == "net_ping":
            card = Net()
            vm.add_virtio(card)
            connect(card.port, port)
        else:
            connect(vm.add_nic().port, port)
        vm.load(guest.image())
        result = vm.run(60)
        assert result.outcome is Outcome.EXIT, result.reason
        return result.output
