"""Two guests and a switch: one pings by virtio-net, the other answers by the network card."""

from __future__ import annotations

import io
import shutil
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from pykvm.guest import load_guest
from pykvm.machine import Machine
from pykvm.net.capture import Capture
from pykvm.net.port import Port, connect
from pykvm.net.switch import Switch
from pykvm.result import Outcome
from pykvm.virtio.net import Net

GUESTS = Path(__file__).parents[2] / "guests"


class Ready(io.RawIOBase):
    """A guest's output, which tells when it is waiting."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.event.set()
        return len(bytes(data))  # type: ignore[call-overload]


def machine(name: str, backend: str, switch: Switch, role: str, output: Ready) -> Machine:
    guest = load_guest(GUESTS / f"{name}.S")
    options = guest.options() | {"devices": ("debugcon", "exit"), "append": role}
    vm = Machine(**options, backend=backend, output=output, native=False)  # type: ignore[arg-type]
    if name == "net_ping":
        card = Net("52:54:00:00:00:11" if role == "pong" else "52:54:00:00:00:12")
        vm.add_virtio(card)
        connect(card.port, switch.add_port(name))
    else:
        connect(vm.add_nic().port, switch.add_port(name))
    vm.load(guest.image())
    return vm


def net_port(vm: Machine) -> Port:
    (card,) = vm.virtio
    assert isinstance(card, Net)
    return card.port


def play(
    backend: str, pinging: str, answering: str, capture: Path | None = None
) -> tuple[bytes, bytes]:
    switch, ready = Switch(), Ready()
    with (
        machine(answering, backend, switch, "pong", ready) as pong,
        machine(pinging, backend, switch, "ping", Ready()) as ping,
        ExitStack() as stack,
    ):
        if capture is not None:
            stack.enter_context(Capture(capture, [net_port(ping)]))
        thread = threading.Thread(target=pong.run, args=(60,))
        thread.start()
        assert ready.event.wait(30)
        result = ping.run(60)
        thread.join()
        assert (result.outcome, pong.result.outcome) == (Outcome.EXIT, Outcome.EXIT)
        return result.output, pong.result.output


def test_virtio_pings_the_card(backend: str) -> None:
    outputs = play(backend, "net_ping", "nic_ping")
    assert outputs == (b"4 pings, 4 answers\n", b"ready\n4 pings answered\n")


def test_the_card_pings_virtio(backend: str) -> None:
    outputs = play(backend, "nic_ping", "net_ping")
    assert outputs == (b"4 pings, 4 answers\n", b"ready\n4 pings answered\n")


def test_the_capture_of_a_ping_pong_opens_in_tshark(backend: str, tmp_path: Path) -> None:
    pytest.importorskip("pcapng")
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    path = tmp_path / "ping_pong.pcapng"
    play(backend, "net_ping", "nic_ping", path)
    fields = ["-T", "fields", "-E", "separator=,", "-e", "icmp.type", "-e", "icmp.seq"]
    command = ["tshark", "-r", path, "-Y", "icmp", "-o", "ip.check_checksum:TRUE", *fields]
    done = subprocess.run([*command, "-e", "icmp.checksum.status"], capture_output=True, text=True)
    expected = [f"{kind},{number},1" for number in range(1, 5) for kind in (8, 0)]
    assert done.stdout.split() == expected, done.stderr
