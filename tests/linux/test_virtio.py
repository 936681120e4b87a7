"""Debian's own drivers on virtio devices: what they do must work, and they must not complain."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import judge
import pytest
from console import PROMPT, Inside, Output

import pykvm
from pykvm.bench import linux, stock
from pykvm.machine import KERNEL_DEVICES
from pykvm.virtio.block import Block
from pykvm.virtio.device import Device
from pykvm.virtio.disk import FileDisk
from pykvm.virtio.entropy import Entropy

pytestmark = pytest.mark.timeout(300)
DISK_BYTES = 32 << 20


def start(kernel: stock.Stock, initrd: Path, *devices: Device, cpus: int = 1) -> Inside:
    """A machine with these devices, started."""
    output = Output()
    vm = pykvm.VM(
        memory="256M", backend="emu", cpus=cpus, irqchip="full", pit=True,
        devices=KERNEL_DEVICES, float_unclaimed=True, append=linux.APPEND,
        output=output,  # type: ignore[arg-type]
    )  # fmt: skip
    for device in devices:
        vm.add_virtio(device)
    vm.load_kernel(kernel.kernel, initrd)
    return Inside(vm, output)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with an empty ext4 file system."""
    if shutil.which("mke2fs") is None:
        pytest.skip("no mke2fs; apt-get install e2fsprogs")
    path = tmp_path_factory.mktemp("disk") / "ext4.img"
    path.write_bytes(b"")
    with path.open("r+b") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(path)], check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def guest(kernel: stock.Stock, virtio_initrd: Path, image: Path) -> Iterator[Inside]:
    """A machine with one device of each kind, at its shell, with the drivers loaded."""
    inside = start(kernel, virtio_initrd, Entropy(), Block(FileDisk(image)))
    try:
        inside.wait_for(PROMPT)
        inside.run("depmod && modprobe virtio_mmio")
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


def test_the_log_and_the_end(guest: Inside) -> None:
    log = guest.run("dmesg")
    guest.power_off()
    _, drivers = log.split("Run /init as init process")  # test_boot.py judges what is before
    assert judge.complaints(drivers) == {}
