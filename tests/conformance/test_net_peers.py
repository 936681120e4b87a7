"""Others' programs at the far end of a socket: QEMU's own network, and passt.

They run in network namespaces that the tests make, and have nowhere else to send to.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.debian import installed
from support.namespace import in_namespace, ip, tap
from support.ping import ANSWERED, NAMES, ping
from support.waiting import until

from pykvm.bench import linux
from pykvm.errors import UsageError
from pykvm.net.link import Link
from pykvm.net.port import disconnect
from pykvm.net.unix import DatagramSocket, StreamSocket

# A network in the process, whose host answers ARP and pings; `restrict` keeps it apart from ours.
SLIRP = "user,id=inside,net=10.0.0.0/24,host=10.0.0.1,restrict=on"


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A program, until it is no longer wanted."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def begin(process: subprocess.Popen[str], path: Path) -> None:
    """Wait for a program's socket; skips where the program refuses."""
    until(lambda: path.exists() or process.poll() is not None)
    if process.poll() is not None:
        pytest.skip(f"{process.args} does not start here: {process.communicate()[0][-300:]}")


def connected(path: Path) -> StreamSocket:
    """A socket is there before its program listens."""
    found: list[StreamSocket] = []

    def attempt() -> bool:
        with suppress(UsageError):
            found.append(StreamSocket(path))
        return bool(found)

    until(attempt)
    return found[0]


def qemu(netdev: str) -> list[str]:
    """A QEMU without any machine that joins its own network with a socket."""
    program = installed(linux.QEMU, "qemu-system-x86")
    return [
        program, "-machine", "none", "-nodefaults", "-no-user-config", "-display", "none",
        "-monitor", "none", "-serial", "none",
        "-netdev", SLIRP, "-netdev", f"{netdev},id=outside",
        "-netdev", "hubport,id=one,hubid=0,netdev=inside",
        "-netdev", "hubport,id=two,hubid=0,netdev=outside",
    ]  # fmt: skip


def check_pings(link: Link, backend: str) -> None:
    """Both guests are answered, one after the other."""
    for name in NAMES:
        assert ping(name, backend, link.port) == ANSWERED
        disconnect(link.port)


@in_namespace
def test_a_guest_pings_qemu_that_listens(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with running(qemu(f"stream,server=on,addr.type=unix,addr.path={path}")) as process:
        begin(process, path)
        with connected(path) as link:
            check_pings(link, backend)


@in_namespace
def test_a_guest_pings_one_qemu_after_another(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with StreamSocket(path, server=True) as link:
        for _ in range(2):
            with running(qemu(f"stream,server=off,addr.type=unix,addr.path={path}")):
                until(lambda: link.is_up)
                check_pings(link, backend)
            until(lambda: not link.is_up)


@in_namespace
def test_a_guest_pings_qemu_by_datagrams(backend: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    address = f"local.type=unix,local.path={there},remote.type=unix,remote.path={here}"
    with DatagramSocket(here, there) as link:
        for _ in range(2):
            there.unlink(missing_ok=True)
            with running(qemu(f"dgram,{address}")) as process:
                begin(process, there)
                check_pings(link, backend)


@in_namespace
def test_a_guest_pings_through_passt(backend: str) -> None:
    """It answers ARP itself, and hands pings to the namespace's own kernel."""
    program = installed("passt", "passt")
    tap("outside")  # passt wants a route
    ip("addr add 10.0.0.2/24 dev outside")
    ip("link set outside up")
    ip("route add default via 10.0.0.254")
    ip("addr add 10.0.0.1/32 dev lo")
    Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")  # of this namespace
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)  # where passt is nobody
        path = Path(directory) / "s"
        command = [program, "--foreground", "--stderr", "--ipv4-only", "--socket", str(path)]
        with running(command) as process:
            begin(process, path)
            for _ in NAMES:
                with connected(path) as link:
                    check_pings(link, backend)
