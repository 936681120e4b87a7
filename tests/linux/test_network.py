"""Debian's virtio_net in two guests at one switch: pings, and a file by TCP."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import judge
import pytest
from console import Inside, join_network, start

from pykvm.bench import stock
from pykvm.net.port import connect
from pykvm.net.responder import Responder
from pykvm.net.switch import Switch
from pykvm.virtio import offload
from pykvm.virtio.net import Net

pytestmark = pytest.mark.timeout(900)
RESPONDER, ONE, TWO = "10.0.0.1", "10.0.0.2", "10.0.0.3"
ONE_6, TWO_6 = "fd00::2", "fd00::3"
PATIENCE_S = 600
MEMORY = "512M"  # half of it can be files


@pytest.fixture(scope="module")
def guests(
    kernel: stock.Stock, virtio_initrd: Path, virtio_backend: str
) -> Iterator[tuple[Inside, Inside]]:
    """Two of them and a responder; one is notified of by exits, the other by eventfds."""
    switch = Switch()
    connect(switch.add_port("responder"), Responder().port)
    with ExitStack() as stack:
        both = []
        for number, events in ((2, "exit"), (3, "eventfd")):
            device = Net(f"02:00:00:00:00:{number:02x}")
            connect(switch.add_port(f"guest {number}"), device.port)
            inside = start(
                kernel, virtio_initrd, device, backend=virtio_backend, events=events, memory=MEMORY
            )
            stack.callback(inside.close)
            both.append(inside)
        for number, inside in enumerate(both, 2):
            join_network(inside, number)
        both[0].run("httpd -h /tmp")
        yield both[0], both[1]


@pytest.mark.parametrize("address", [RESPONDER, TWO, TWO_6])
def test_a_guest_pings(address: str, guests: tuple[Inside, Inside]) -> None:
    said = guests[0].run(f"ping -c 3 -i 0.2 -s 1000 {address}")
    assert "3 packets transmitted, 3 packets received" in said


@pytest.mark.parametrize(
    ("host", "kind", "mib"),
    [(ONE, offload.GSO_TCPV4, 100), (f"[{ONE_6}]", offload.GSO_TCPV6, 8)],
    ids=["IPv4", "IPv6"],
)
def test_a_file_by_tcp(
    host: str, kind: int, mib: int, guests: tuple[Inside, Inside],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The kernels have the device cut up their segments; those of IPv6 they check themselves."""
    one, two = guests
    asked: Counter[int] = Counter()
    packets = offload.packets

    def watched(request: offload.Request, packet: bytes) -> Iterator[bytes]:
        asked[request.gso_type] += 1
        return packets(request, packet)

    monkeypatch.setattr(offload, "packets", watched)
    one.run(f"head -c {mib << 20} /dev/urandom > /tmp/file", PATIENCE_S)
    begun = time.monotonic()
    there = two.run(f"wget -q -O - http://{host}/file | md5sum", PATIENCE_S)
    taken = time.monotonic() - begun
    assert there == one.run("md5sum < /tmp/file", PATIENCE_S)
    assert asked[kind] > mib << 20 >> 16  # a packet is 64 KiB at most
    for inside in guests:
        counted = inside.run("grep ^Tcp: /proc/net/snmp").splitlines()
        names, values = (line.split() for line in counted)
        assert dict(zip(names, values, strict=True))["InCsumErrors"] == "0"
    with capsys.disabled():
        print(
            f"\n{mib} MiB by TCP from guest to guest, with the sum: {taken:.1f} s, "
            f"{asked[kind]} large segments"
        )


def test_the_logs_and_the_end(guests: tuple[Inside, Inside]) -> None:
    for inside in guests:
        log = inside.run("dmesg")
        inside.power_off()
        assert judge.complaints(log.split("Run /init as init process")[1]) == {}
