"""Debian's virtio_net and the host's own kernel at two ends of a TAP device.

The host's kernel is told nothing about the frames' checksums, so that it checks each of them.
"""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path

import pytest
from console import join_network, start
from support.namespace import in_namespace, ip

from pykvm.bench import stock
from pykvm.errors import UsageError
from pykvm.net.port import connect
from pykvm.net.tap import Tap
from pykvm.virtio.net import Net

pytestmark = pytest.mark.timeout(300)
MIB = 1 << 20


@in_namespace
def test_a_guest_serves_a_file_to_the_hosts_kernel(
    kernel: stock.Stock, virtio_initrd: Path, virtio_backend: str
) -> None:
    device = Net()
    try:
        tap = Tap("pykvm0")
    except UsageError as error:
        pytest.skip(str(error))
    with tap:
        connect(device.port, tap.port)
        ip("link set pykvm0 up")
        for address in ("10.0.0.1/24", "fd00::1/64 nodad"):
            ip(f"addr add {address} dev pykvm0")
        inside = start(kernel, virtio_initrd, device, backend=virtio_backend)
        try:
            join_network(inside, 2)
            for address in ("10.0.0.1", "fd00::1"):
                said = inside.run(f"ping -c 3 -i 0.2 -s 1000 {address}")
                assert "3 packets transmitted, 3 packets received" in said
            inside.run("head -c 4194304 /dev/urandom > /tmp/file && httpd -h /tmp")
            there = inside.run("md5sum < /tmp/file").split()[0]
            for host in ("10.0.0.2", "[fd00::2]"):
                data = urllib.request.urlopen(f"http://{host}/file", timeout=60).read()
                assert len(data) == 4 * MIB
                assert hashlib.md5(data).hexdigest() == there
            assert wrong_checksums() == 0
            inside.power_off()
        finally:
            inside.close()


def wrong_checksums() -> int:
    """What the kernel of this thread's namespace has counted."""
    lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(dict(zip(names, values, strict=True))["InCsumErrors"])
