"""TAP devices in network namespaces of their own: the kernel's ARP and ICMP are the judge."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.debian import installed
from support.namespace import in_namespace, ip
from support.ping import ANSWERED, NAMES, ping
from support.waiting import until

from pykvm.errors import UsageError
from pykvm.net import tap
from pykvm.net.link import WAITING_MAX
from pykvm.net.port import Port, connect
from pykvm.net.responder import Responder
from pykvm.net.switch import Switch
from pykvm.net.tap import Tap

ROOT = Path(__file__).parents[2]
NOT_HERE = (errno.EPERM, errno.EACCES, errno.ENOENT, errno.ENODEV)
FRAME = b"\xff" * 6 + b"\2\0\0\0\0\1\x88\xb5" + bytes(46)


@contextmanager
def opened(name: str = "", address: str = "") -> Iterator[Tap]:
    """A TAP device that is up; skips where there can be none."""
    try:
        device = Tap(name)
    except UsageError as error:
        cause = error.__context__
        if isinstance(cause, OSError) and cause.errno in NOT_HERE:
            pytest.skip(str(error))
        raise
    with device:
        if address:
            ip(f"addr add {address} dev {device.name}")
        ip(f"link set {device.name} up")
        yield device


@pytest.mark.parametrize("name", NAMES)
@in_namespace
def test_a_guest_pings_the_hosts_kernel(name: str, backend: str) -> None:
    with opened(address="10.0.0.1/24") as device:
        assert ping(name, backend, device.port) == ANSWERED
        found = ip(f"neigh show 10.0.0.2 dev {device.name}")
        assert "lladdr 52:54:00:00:00:0" in found  # the kernel took the guest for a station


@in_namespace
def test_an_interface_that_is_up_runs_when_it_is_opened() -> None:
    """The kernel drops what it has for one whose carrier it has not noticed yet."""
    with opened():
        pass  # it can be had
    ip("tuntap add dev pykvm0 mode tap")
    ip("link set pykvm0 up")
    for _ in range(20):
        with Tap("pykvm0"):
            assert "LOWER_UP" in ip("link show pykvm0")
            assert "state DOWN" not in ip("link show pykvm0")


@in_namespace
def test_the_pages_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pcapng")
    with opened("pykvm0"):
        pass  # the page's can be, too
    (tmp_path / "guests").symlink_to(ROOT / "guests")
    monkeypatch.chdir(tmp_path)
    for example in re.findall("```python\n(.*?)```", (ROOT / "docs/networks.md").read_text(), re.S):
        exec(example, {})
        assert "4 pings, 4 answers" in capsys.readouterr().out
    assert (tmp_path / "ping.pcapng").stat().st_size > 1000


@in_namespace
def test_the_hosts_ping_is_answered() -> None:
    program = installed("ping", "iputils-ping")
    switch = Switch()
    connect(Responder("10.0.0.1").port, switch.add_port("responder"))
    with opened("pykvm-tap", "10.0.0.2/24") as device:
        assert device.name == device.port.name == "pykvm-tap"
        connect(device.port, switch.add_port("tap"))
        command = [program, "-c", "5", "-i", "0.2", "-s", "1400", "10.0.0.1"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert "5 packets transmitted, 5 received" in done.stdout, done.stdout + done.stderr


@in_namespace
def test_an_interface_that_was_made_before_stays() -> None:
    with opened():
        pass
    ip("tuntap add dev before mode tap")
    with opened("before"):
        pass
    assert "before" in ip("link show before")


@in_namespace
def test_what_cannot_be_had_says_why() -> None:
    with opened("taken"), pytest.raises(UsageError, match=r"taken: .*busy; another program"):
        Tap("taken")
    ip("tuntap add dev tunnel mode tun")
    with pytest.raises(UsageError, match=r"tunnel: .*; an interface of that name is no TAP"):
        Tap("tunnel")


@pytest.mark.parametrize("name", ["a" * 16, "a/b", "a b", "a:b", "\xe4", "a\0b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no interface's name"):
        Tap(name)


def test_a_host_without_tun_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tap, "DEVICE", str(tmp_path / "tun"))
    with pytest.raises(UsageError, match="modprobe tun"):
        Tap()

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    (tmp_path / "tun").touch()
    monkeypatch.setattr(tap.fcntl, "ioctl", refuse)
    with pytest.raises(UsageError, match="CAP_NET_ADMIN"):
        Tap()


@in_namespace
def test_an_interface_that_is_down_or_gone_loses_frames() -> None:
    with opened() as device:
        station = Port(lambda *frames: None)
        connect(station, device.port)
        station.send(FRAME)
        station.send(b"short")
        assert device.lost == 1
        ip(f"link set {device.name} down")
        station.send(FRAME)
        assert device.lost == 2
        ip(f"link set {device.name} up")
        station.send(FRAME)
        assert (device.lost, device.is_up) == (2, True)
        ip(f"link del {device.name}")
        until(lambda: not device.is_up)
        station.send(FRAME)
        assert device.lost == 3


@in_namespace
def test_frames_that_a_device_does_not_take_wait_and_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with opened() as device:
        is_full, write = [True], device._write

        def full(data: bytes) -> int:
            if is_full[0]:
                raise BlockingIOError
            return write(data)

        monkeypatch.setattr(device, "_write", full)
        station = Port(lambda *frames: None)
        connect(station, device.port)
        for _ in range(WAITING_MAX + 3):
            station.send(FRAME)
        assert device.lost == 3
        is_full[0] = False
        until(lambda: received(device) >= WAITING_MAX)


def received(device: Tap) -> int:
    """How many frames the kernel has had of it."""
    lines = ip(f"-s link show {device.name}").splitlines()
    (at,) = (number for number, line in enumerate(lines) if "RX:" in line)
    return int(lines[at + 1].split()[1])
