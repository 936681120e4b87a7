"""Debian's own drivers on virtio devices: what they do must work, and they must not complain."""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import judge
import pytest
from console import PROMPT, Inside, start
from support.waiting import until

from pykvm.bench import stock
from pykvm.machine import Machine
from pykvm.virtio import console
from pykvm.virtio.balloon import Balloon
from pykvm.virtio.block import Block
from pykvm.virtio.disk import FileDisk
from pykvm.virtio.ends import End, Port
from pykvm.virtio.entropy import Entropy
from pykvm.virtio.vsock import Vsock

pytestmark = pytest.mark.timeout(300)
DISK_BYTES = 32 << 20
MIB = 1 << 20
BALLOON_MIB = 96
SIZE = (90, 30)  # columns, rows
PORT_NAME = "org.example.port"


@dataclass
class Devices:
    """One of each kind, and what the host's side holds of them."""

    image: Path
    console: KeptEnd
    port: KeptEnd
    balloon: Balloon
    socket: Path
    sized: console.Console  # of which the two above are ports


class KeptEnd(End):
    """Keeps what the guest writes; `port` is the guest's side."""

    def __init__(self) -> None:
        self.data = bytearray()

    def attach(self, port: Port) -> None:
        self.port = port

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)


@pytest.fixture(scope="module")
def image(virtio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with an empty ext4 file system, for each backend."""
    if shutil.which("mke2fs") is None:
        pytest.skip("no mke2fs; apt-get install e2fsprogs")
    path = tmp_path_factory.mktemp("disk") / "ext4.img"
    path.write_bytes(b"")
    with path.open("r+b") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(path)], check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def devices(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Devices:
    path = tmp_path_factory.mktemp("vsock") / "s"
    first, second = KeptEnd(), KeptEnd()
    ports = [console.Port(first), console.Port(second, name=PORT_NAME)]
    sized = console.Console(ports, size=SIZE)
    return Devices(image, first, second, Balloon(), path, sized)


@pytest.fixture(scope="module")
def guest(
    kernel: stock.Stock, virtio_initrd: Path, devices: Devices, virtio_backend: str
) -> Iterator[Inside]:
    """A machine with one device of each kind, at its shell, with the transport's driver loaded."""
    inside = start(
        kernel, virtio_initrd, Entropy(), Block(FileDisk(devices.image)),
        devices.sized, devices.balloon, Vsock(devices.socket),
        backend=virtio_backend,
    )  # fmt: skip
    try:
        inside.wait_for(PROMPT)
        inside.run("dmesg -n 1 && depmod && modprobe virtio_mmio")
        yield inside
    finally:
        inside.close()


def test_entropy(guest: Inside) -> None:
    guest.run("modprobe virtio-rng")
    assert guest.run("cat /sys/class/misc/hw_random/rng_current").startswith("virtio_rng")
    assert guest.run("head -c 65536 /dev/hwrng | wc -c") == "65536\n"
    first, second = (guest.run("head -c 32 /dev/hwrng | xxd -p -c 64") for _ in range(2))
    assert re.fullmatch(r"[0-9a-f]{64}\n", first)
    assert first != second


def test_a_file_system(guest: Inside, image: Path) -> None:
    guest.run("modprobe virtio_blk")
    assert guest.run("cat /sys/block/vda/size") == f"{DISK_BYTES // 512}\n"
    guest.run("mkdir /mnt && mount -t ext4 /dev/vda /mnt")
    guest.run("head -c 2000000 /dev/urandom > /mnt/random && sync")
    before = guest.run("md5sum < /mnt/random")
    guest.run("cp /mnt/random /mnt/copy && sync && echo 3 > /proc/sys/vm/drop_caches")
    assert guest.run("md5sum < /mnt/copy") == before
    guest.run("rm /mnt/random && umount /mnt")
    done = subprocess.run(["e2fsck", "-f", "-n", str(image)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    read = subprocess.run(
        ["debugfs", "-R", "cat /copy", str(image)], capture_output=True, check=True
    )
    there = subprocess.run(["md5sum"], input=read.stdout, capture_output=True, check=True)
    assert there.stdout.decode() == before


def test_a_console_and_a_second_port(guest: Inside, devices: Devices) -> None:
    guest.run("modprobe virtio_console; until [ -c /dev/hvc0 ]; do sleep 0.1; done")
    guest.run("echo to the console > /dev/hvc0")
    until(lambda: devices.console.data == b"to the console\r\n")
    port = guest.run(
        f"cd /sys/class/virtio-ports; until grep -lx {PORT_NAME} */name; do sleep 0.1; done; cd /"
    ).split("/")[0]
    devices.port.port.feed(b"from the host\n")
    assert guest.run(f"head -n 1 /dev/{port}") == "from the host\n"
    guest.run(f"seq 20000 | dd bs=16k of=/dev/{port}")
    lines = b"".join(b"%d\n" % number for number in range(1, 20001))
    until(lambda: len(devices.port.data) >= len(lines))
    assert devices.port.data == lines


def test_a_consoles_size(guest: Inside, devices: Devices) -> None:
    """With several ports it comes in messages."""
    guest.run("modprobe virtio_console")
    for rows, columns in (SIZE[::-1], (43, 132)):
        devices.sized.resize(columns, rows)
        guest.run(wait_for_size(rows, columns))


def wait_for_size(rows: int, columns: int) -> str:
    return f"until [ \"$(stty size < /dev/hvc0)\" = '{rows} {columns}' ]; do sleep 0.1; done"


def test_a_balloon(guest: Inside, devices: Devices) -> None:
    """Memory that the guest has used goes to the host, and comes back when it is wanted again."""
    fill = f"dd if=/dev/zero of=/ram/file bs=1M count={BALLOON_MIB}"
    balloon = devices.balloon
    guest.run("modprobe virtio_balloon && mkdir /ram && mount -t tmpfs ram /ram")
    guest.run(f"{fill} && rm /ram/file")
    full = resident_mib(guest.vm)
    balloon.target = f"{BALLOON_MIB}M"
    until(lambda: balloon.actual_bytes == BALLOON_MIB * MIB)
    assert full - resident_mib(guest.vm) > BALLOON_MIB * 3 // 4
    inflated = free_bytes(balloon)
    balloon.target = 0
    until(lambda: balloon.actual_bytes == 0)
    assert free_bytes(balloon) - inflated > BALLOON_MIB * MIB * 3 // 4
    empty = resident_mib(guest.vm)
    guest.run(fill)
    assert resident_mib(guest.vm) - empty > BALLOON_MIB * 3 // 4
    guest.run("umount /ram")


def free_bytes(balloon: Balloon) -> int:
    """What the guest says that it has, when it is asked."""
    before = balloon.statistics
    balloon.ask()
    until(lambda: balloon.statistics is not before)
    return balloon.statistics["free_bytes"]


def test_a_guests_program_talks_to_a_hosts(guest: Inside, devices: Devices) -> None:
    guest.run("modprobe vmw_vsock_virtio_transport")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{devices.socket}_1234")
        listener.listen()
        answers = threading.Thread(target=answer_with_digest, args=(listener,))
        answers.start()
        said = guest.run("seq 20000 | vsock connect 1234")
        answers.join(10)
    lines = b"".join(b"%d\n" % number for number in range(1, 20001))
    assert said == hashlib.md5(lines).hexdigest() + "\n"


def answer_with_digest(listener: socket.socket) -> None:
    digest = hashlib.md5()
    with listener.accept()[0] as stream:
        while data := stream.recv(65536):
            digest.update(data)
        stream.sendall(digest.hexdigest().encode() + b"\n")


def test_a_hosts_program_talks_to_a_guests(guest: Inside, devices: Devices) -> None:
    guest.run("modprobe vmw_vsock_virtio_transport")
    data = bytes(range(256)) * 4096
    guest.send("echo from the guest | vsock listen 99 > /tmp/received\n")
    guest.wait_for("listening\n")
    with socket.socket(socket.AF_UNIX) as stream, stream.makefile("rb") as file:
        stream.connect(str(devices.socket))
        stream.sendall(b"CONNECT 99\n")
        assert file.readline().startswith(b"OK ")
        stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)
        assert file.read() == b"from the guest\n"
    guest.wait_for(PROMPT)
    assert guest.run("md5sum < /tmp/received").split()[0] == hashlib.md5(data).hexdigest()


def resident_mib(vm: Machine) -> float:
    """How much of the machine's RAM the host keeps in memory; proc(5), smaps."""
    kept_kib, is_ram = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            start, end = (int(each, 16) for each in found.groups())
            is_ram = any(
                start < region.hva + region.size_bytes and region.hva < end
                for region in vm.memory.regions
            )
        elif is_ram and line.startswith("Rss:"):
            kept_kib += int(line.split()[1])
    return kept_kib / 1024


def test_the_log_and_the_end(guest: Inside) -> None:
    log = guest.run("dmesg")
    guest.power_off()
    _, drivers = log.split("Run /init as init process")  # test_boot.py judges what is before
    assert judge.complaints(drivers) == {}


def test_the_size_of_a_console_with_one_port(
    kernel: stock.Stock, virtio_initrd: Path, virtio_backend: str
) -> None:
    """It comes from the configuration space, which Linux looks at when it changes."""
    alone = console.Console(size=SIZE)
    inside = start(kernel, virtio_initrd, alone, backend=virtio_backend)
    try:
        inside.wait_for(PROMPT)
        inside.run("dmesg -n 1 && depmod && modprobe virtio_mmio && modprobe virtio_console")
        alone.resize(132, 43)
        inside.run(wait_for_size(43, 132))
        inside.power_off()
    finally:
        inside.close()
