"""Requests per second through a virtqueue: pykvm's devices against those of QEMU's microvm.

The same assembled guest drives both: it finds its device by its command line, keeps a number of
requests under way, polls for what comes back, and reports how long each took. The two take turns.
"""

from __future__ import annotations

import os
import select
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path

from pykvm import host, layout
from pykvm.bench.contest import MORE, Column, Contest, Question
from pykvm.bench.sampler import Side
from pykvm.errors import PykvmError
from pykvm.guest import Guest, load_guest
from pykvm.net.port import connect
from pykvm.net.responder import Responder
from pykvm.result import Outcome
from pykvm.virtio.block import Block
from pykvm.virtio.device import Device
from pykvm.virtio.disk import FileDisk
from pykvm.virtio.net import Net

_PACKAGE = Path(__file__).parents[1]
_GUESTS = (_PACKAGE / "guests", _PACKAGE.parent / "guests")  # in a wheel, in a checkout
QEMU = "qemu-system-x86_64"
COLUMNS = (
    Column("qemu", "QEMU", "{value:.0f}/s", 8),
    Column("ours", "pykvm", "{value:.0f}/s", 8),
    Column("p50_us", "p50 us", "{value:.0f}", 6),
    Column("p99_us", "p99 us", "{value:.0f}", 6),
    Column("exits", "exits", "{value:.3f}", 5),
)
EXITS_BAR = 0.1  # for a request, where DEEP are under way
RATE_BARS = {"emu": 1.0, "kvm": 0.5}  # of QEMU's requests per second
ACCELERATORS = {"emu": "tcg", "kvm": "kvm"}
REQUESTS = {"emu": 20_000, "kvm": 1_000}
DEEP = 32
TIMEOUT_S = 60

DISK_BYTES = 64 << 20
STATION, STATION_MAC = "10.0.2.2", "52:55:0a:00:02:02"  # who answers in QEMU's own network
GUEST_MAC = "52:54:00:12:34:56"
_REPORT = struct.Struct("<IQQ")  # notifications, time stamps at start and end
_MMIO_MICROVM = (0xFEB0_0000, 0x200, 24)  # where QEMU's microvm has its devices
_MMIO_HERE = (layout.VIRTIO_BASE, layout.VIRTIO_STRIDE, layout.VIRTIO_COUNT)


@dataclass(frozen=True)
class Load:
    """What is asked of a device.

    Attributes:
        guest: its file's name.
        depth: requests under way at once.
        size_bytes: of one.
        qemu: the options that give QEMU such a device, of a scratch file's path.
        device: ours.
    """

    name: str
    guest: str
    depth: int
    size_bytes: int
    qemu: Callable[[Path], list[str]]
    device: Callable[[Path], Device]


@dataclass(frozen=True)
class Run:
    """One run: requests per second, their latencies in microseconds, and exits for a request."""

    rate: float
    p50_us: float
    p99_us: float
    exits: float


def _disk_options(image: Path) -> list[str]:
    return [
        "-drive", f"if=none,id=disk,format=raw,file={image}",
        "-device", "virtio-blk-device,drive=disk",
    ]  # fmt: skip


def _disk(image: Path) -> Device:
    return Block(FileDisk(image))


def _net_options(_: Path) -> list[str]:
    return ["-netdev", "user,id=net", "-device", f"virtio-net-device,netdev=net,mac={GUEST_MAC}"]


def _net(_: Path) -> Device:
    device = Net(GUEST_MAC)
    connect(device.port, Responder(STATION, STATION_MAC).port)
    return device


LOADS = (
    *(
        Load(f"block 4 KiB, depth {depth}", "ring_block.S", depth, 4096, _disk_options, _disk)
        for depth in (1, DEEP)
    ),
    *(
        Load(f"net {size:,} bytes, depth {depth}", "ring_net.S", depth, size, _net_options, _net)
        for size in (64, 1500)
        for depth in (1, DEEP)
    ),
)


@contextmanager
def prepare() -> Iterator[Path]:
    """A file for disks."""
    with tempfile.TemporaryDirectory(dir=_fast_directory()) as directory:
        scratch = Path(directory) / "disk"
        scratch.write_bytes(os.urandom(DISK_BYTES))
        yield scratch


def _fast_directory() -> str | None:
    """Memory, so that no disk of the host is measured."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _contest(load: Load, backend: str) -> Contest:
    def sides(scratch: Path, stack: ExitStack) -> dict[str, Side]:
        if backend == "kvm" and (problem := host.problem()):
            raise problem
        run = {"qemu": run_qemu, "ours": run_pykvm}
        return {
            name: partial(each, load, backend, REQUESTS[backend], scratch)
            for name, each in run.items()
        }

    details = {name: attrgetter(name) for name in ("p50_us", "p99_us", "exits")}
    limits = {"exits": EXITS_BAR} if load.depth >= DEEP else {}
    question = Question(
        f"{load.name}, {backend}", "qemu", RATE_BARS[backend], MORE, read=attrgetter("rate"),
        reads="/s", details=details, limits=limits,
    )  # fmt: skip
    return Contest((question,), sides)


CONTESTS = tuple(_contest(load, backend) for backend in ACCELERATORS for load in LOADS)


def _parameters(load: Load, where: tuple[int, int, int], requests: int) -> str:
    """The guest's command line; guests/ring32.inc says what it means."""
    numbers = (*where, load.depth, load.size_bytes, requests, 1)
    return "ring=" + ",".join(f"{number:x}" for number in numbers)


def _guest(load: Load) -> Guest:
    return load_guest(next(each for each in _GUESTS if each.is_dir()) / load.guest)


class _Marks:
    """What the guest writes to when its clock starts and ends."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self.times_ns: list[int] = []
        self.exits: list[int] = []

    def read(self, offset: int, size_bytes: int) -> int:
        return 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        self.times_ns.append(time.perf_counter_ns())
        self.exits.append(self._count())


def run_pykvm(load: Load, backend: str, requests: int, scratch: Path) -> Run:
    """One run on a machine of ours.

    Raises:
        PykvmError: the guest did not come to its end.
    """
    guest = _guest(load)
    with guest.machine(
        backend=backend,
        devices=("debugcon", "exit"),
        append=_parameters(load, _MMIO_HERE, requests),
    ) as machine:
        machine.add_virtio(load.device(scratch))
        marks = _Marks(lambda: sum(machine.vcpu.exit_counts().values()))
        machine.ports.claim(layout.SCRATCH_PORT, 1, marks)
        result = machine.run(timeout=TIMEOUT_S)
    if result.outcome is not Outcome.EXIT or result.status != 1:
        raise PykvmError(f"{load.guest} did not come to its end: {result.reason}")
    seconds = (marks.times_ns[1] - marks.times_ns[0]) / 1e9
    exits = (marks.exits[1] - marks.exits[0]) / requests
    return _digest(result.output, seconds, requests, exits)


def qemu_command(kernel: Path, load: Load, backend: str, requests: int, scratch: Path) -> list[str]:
    """QEMU's smallest PC with the same device, its debug console on stdout."""
    return [
        QEMU, "-machine", "microvm", "-accel", ACCELERATORS[backend], "-m", "64M",
        "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot",
        "-global", "virtio-mmio.force-legacy=false",
        "-chardev", "stdio,id=console",
        "-device", f"isa-debugcon,iobase={layout.DEBUGCON_PORT:#x},chardev=console",
        "-device", f"isa-debug-exit,iobase={layout.ISA_DEBUG_EXIT_PORT:#x}",
        *load.qemu(scratch),
        "-kernel", str(kernel), "-append", _parameters(load, _MMIO_MICROVM, requests),
    ]  # fmt: skip


def run_qemu(load: Load, backend: str, requests: int, scratch: Path) -> Run:
    """One run on QEMU.

    Raises:
        PykvmError: it ended, or the time was over, without a report.
    """
    if shutil.which(QEMU) is None:
        raise PykvmError(f"{QEMU} is missing; apt-get install qemu-system-x86")
    image = _guest(load).image()
    with tempfile.TemporaryDirectory() as directory:
        kernel = Path(directory) / "ring.bin"
        kernel.write_bytes(image.code)
        command = qemu_command(kernel, load, backend, requests, scratch)
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                output, times_ns = _listen(process)
            finally:
                process.kill()
            said = process.stderr.read() if process.stderr else b""
    if len(times_ns) < 2:
        why = said.decode(errors="replace").strip().splitlines()[-1:] or ["it ended early"]
        raise PykvmError(f"QEMU under {ACCELERATORS[backend]}: {why[0]}")
    return _digest(output, (times_ns[1] - times_ns[0]) / 1e9, requests, 0.0)


def _listen(process: subprocess.Popen[bytes]) -> tuple[bytes, list[int]]:
    """What it prints, and when the first two bytes of that came."""
    output = b""
    times_ns: list[int] = []
    deadline = time.monotonic() + TIMEOUT_S
    assert process.stdout is not None
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left)[0]:
            break
        if not (data := os.read(process.stdout.fileno(), 1 << 16)):
            break
        now_ns = time.perf_counter_ns()
        times_ns += [now_ns] * min(len(data), 2 - len(times_ns))
        output += data
    return output, times_ns


def _digest(output: bytes, seconds: float, requests: int, exits: float) -> Run:
    """Figures from a report: the marks' two bytes, the counts, and a sample for each request."""
    _, start, end = _REPORT.unpack_from(output, 2)
    samples = sorted(struct.unpack_from(f"<{requests}I", output, 2 + _REPORT.size))
    us = seconds * 1e6 / (end - start)
    p50, p99 = samples[requests // 2] * us, samples[requests * 99 // 100] * us
    return Run(requests / seconds, p50, p99, exits)
