"""How long a stock kernel takes to its first process: pykvm's emulator against QEMU's.

Both boot the same kernel with the same RAM disk and command line, in turns, each as a process
of its own: time runs from its start to the line that the first process prints.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path

from pykvm.bench import stock
from pykvm.bench.contest import Column, Contest, Question
from pykvm.bench.sampler import Impossible, Side
from pykvm.errors import PykvmError

QEMU = "qemu-system-x86_64"
COLUMNS = (Column("qemu", "QEMU"), Column("ours", "pykvm"))
APPEND = "console=ttyS0"
MEMORY_MIB = 256
BOOT_TIMEOUT_S = 60
TRIES = 3  # on a loaded host QEMU's timers are too late for the kernel's calibration, and it hangs


@dataclass(frozen=True)
class Boot:
    """One boot: seconds to the first process, and the most memory that was resident, in MiB."""

    seconds: float
    resident_mib: float


def qemu_command(kernel: Path, initrd: Path, cpus: int = 1) -> list[str]:
    """QEMU's smallest PC on its own emulator, with a serial port on stdin and stdout."""
    return [
        QEMU, "-machine", "microvm,rtc=on", "-accel", "tcg", "-cpu", "max",
        "-m", f"{MEMORY_MIB}M", "-smp", str(cpus),
        "-nodefaults", "-no-user-config", "-display", "none",
        "-monitor", "none", "-serial", "stdio", "-no-reboot",
        "-kernel", str(kernel), "-initrd", str(initrd), "-append", APPEND,
    ]  # fmt: skip


def pykvm_command(kernel: Path, initrd: Path, cpus: int = 1, backend: str = "emu") -> list[str]:
    """The same machine of pykvm's."""
    return [
        sys.executable, "-c", "import sys, pykvm.cli; sys.exit(pykvm.cli.main())", "run",
        "--backend", backend, "--memory", f"{MEMORY_MIB}M", "--cpus", str(cpus),
        "--kernel", str(kernel), "--initrd", str(initrd), "--append", APPEND,
    ]  # fmt: skip


def boot(command: list[str]) -> Boot:
    """Start one, wait for the first process's line and for its end.

    Raises:
        PykvmError: it ended, or the time was over, without that line.
    """
    start = time.monotonic()
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        try:
            seconds = _wait_for_marker(process, start)
        finally:
            process.kill()
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0  # it is waited for
        if seconds is None:
            log.seek(0)
            said = log.read().decode(errors="replace").strip()[-400:]
            late = "; on a busy host its timers come too late for the kernel"
            raise PykvmError(
                f"{command[0]} reached no first process{late * (command[0] == QEMU)}: {said}"
            )
    return Boot(seconds, usage.ru_maxrss / 1024)


def _boot_again(command: list[str]) -> Boot:
    """As `boot`, but a machine that hung is started afresh."""
    for left in reversed(range(TRIES)):
        try:
            return boot(command)
        except PykvmError:
            if not left:
                raise
    raise AssertionError("the last try raises")


def _wait_for_marker(process: subprocess.Popen[bytes], start: float) -> float | None:
    said = b""
    if process.stdout is None:
        return None
    while (left := start + BOOT_TIMEOUT_S - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left)[0]:
            return None
        if not (data := os.read(process.stdout.fileno(), 4096)):
            return None
        said = said[-200:] + data
        if stock.MARKER.encode() in said:
            return time.monotonic() - start
    return None


@contextmanager
def prepare() -> Iterator[tuple[list[str], list[str]]]:
    """What QEMU and what pykvm is started with.

    Raises:
        StockError: there is no kernel to boot.
    """
    found = stock.fetch()
    with tempfile.TemporaryDirectory() as directory:
        initrd = Path(directory) / "initrd"
        initrd.write_bytes(stock.initramfs(found.busybox, {}, stock.TO_POWER_OFF))
        yield qemu_command(found.kernel, initrd), pykvm_command(found.kernel, initrd)


def _sides(commands: tuple[list[str], list[str]], stack: ExitStack) -> dict[str, Side]:
    qemu, ours = commands
    return {"qemu": partial(_boot_qemu, qemu), "ours": partial(_boot_again, ours)}


def _boot_qemu(command: list[str]) -> Boot:
    if shutil.which(QEMU) is None:
        raise Impossible(f"{QEMU} is missing; apt-get install qemu-system-x86")
    return _boot_again(command)


CONTESTS = (
    Contest(
        (
            Question("start to first process", "qemu", 4.0, read=attrgetter("seconds"), reads="s"),
            Question(
                "most memory resident", "qemu", 1.0, read=attrgetter("resident_mib"), reads="MiB"
            ),
        ),
        _sides,
    ),
)
