"""A stock kernel to boot: Debian's own, with an initial RAM disk of Debian's busybox.

Both packages are fetched by Debian's package client into a cache directory, and nothing is
installed; where that is not possible the reason is an error of pykvm's.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pykvm.errors import PykvmError

KERNEL_PACKAGE, BUSYBOX_PACKAGE = "linux-image-cloud-amd64", "busybox-static"
MODULES = (  # of the package's modules, those that are kept
    "drivers/virtio", "drivers/block/virtio_blk.ko", "drivers/char/virtio_console.ko",
    "drivers/char/hw_random/virtio-rng.ko", "drivers/net/virtio_net.ko",
    "drivers/net/net_failover.ko", "net/core/failover.ko", "net/vmw_vsock",
    "arch/x86/crypto", "crypto", "lib",
)  # fmt: skip
MARKER = "pykvm: the first process runs"
FETCH_TIMEOUT_S = 300

_CPIO_MAGIC = "070701"
_CONSOLE = (5, 1)  # major and minor number, Documentation/admin-guide/devices.txt
_TO_SHELL = "exec setsid cttyhack sh"
TO_POWER_OFF = "poweroff -f"


class StockError(PykvmError):
    """The kernel or busybox cannot be had here."""


@dataclass(frozen=True)
class Stock:
    """Where the files are.

    Attributes:
        modules: the directory of the kernel's version, as in /lib/modules; only MODULES.
        package: of the kernel, with its version.
    """

    kernel: Path
    busybox: Path
    modules: Path
    package: str


def cache_dir() -> Path:
    """Where fetched files stay, as the XDG base directory specification has it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pykvm" / "stock"


def fetch(where: Path | None = None) -> Stock:
    """Get the packages, if they are not there yet.

    Args:
        where: a directory for them; None for the usual one.

    Raises:
        StockError: this is not Debian, its archive cannot be reached, or there is no place.
    """
    where = where or cache_dir()
    for program in ("apt-get", "apt-cache", "dpkg-deb", "tar"):
        if shutil.which(program) is None:
            raise StockError(f"there is no {program} here: a stock kernel needs Debian's")
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StockError(f"cannot make {where}: {error.strerror}") from None
    package = _kernel_package(where)
    kernel, *modules = members(
        package, ("boot/vmlinuz-*", *(f"lib/modules/*/kernel/{each}" for each in MODULES)), where
    )
    (busybox,) = members(BUSYBOX_PACKAGE, ("bin/busybox",), where)
    return Stock(kernel, busybox, modules[-1].parents[1], package)


def _kernel_package(where: Path) -> str:
    """What the metapackage depends on."""
    pattern = r"^\s+Depends: (linux-image-\S+)$"
    said = _run(["apt-cache", "depends", KERNEL_PACKAGE], where)
    if not (found := re.search(pattern, said, re.M)) and os.geteuid() == 0:
        _run(["apt-get", "update", "-qq"], where)
        said = _run(["apt-cache", "depends", KERNEL_PACKAGE], where)
        found = re.search(pattern, said, re.M)
    if not found:
        raise StockError(f"{KERNEL_PACKAGE} is not known here; run apt-get update on Debian")
    return found[1]


def members(package: str, patterns: Sequence[str], where: Path) -> list[Path]:
    """Files or directories of a package, one for each pattern; unpacked only once."""
    directory = where / package
    found = [sorted(directory.glob(pattern)) for pattern in patterns]
    if not all(found):
        partial = where / f"{package}.{os.getpid()}"
        partial.mkdir(exist_ok=True)
        _run(["apt-get", "download", "-qq", package], partial)
        archive = next(iter(partial.glob("*.deb")))
        _run(["dpkg-deb", "-x", archive.name, "tree"], partial)
        for pattern in patterns:
            _move(next(iter((partial / "tree").glob(pattern))), partial / "tree", directory)
        shutil.rmtree(partial)
        found = [sorted(directory.glob(pattern)) for pattern in patterns]
    return [each[-1] for each in found]


def _move(found: Path, tree: Path, directory: Path) -> None:
    """Keep one; who else has fetched it at the same time has the same."""
    target = directory / found.relative_to(tree)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        found.rename(target)
    except OSError:
        if not target.exists():
            raise


def _run(command: list[str], where: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=where, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise StockError(f"`{' '.join(command)}` takes too long") from None
    if done.returncode and command[0] != "apt-cache":
        raise StockError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-300:]}")
    return done.stdout


# The RAM disk.


def init_script(last: str = _TO_SHELL) -> bytes:
    """The first process: says so, then gives a shell on the console, or does `last`."""
    return (
        "#!/bin/busybox sh\n"
        f"/bin/busybox echo '{MARKER}'\n"
        "/bin/busybox --install -s /bin\n"
        "mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev\n"
        f"{last}\n"
    ).encode()


def initramfs(busybox: Path, files: Mapping[str, bytes], last: str = _TO_SHELL) -> bytes:
    """A cpio archive with busybox, an init script, and files by path, all executable.

    Source: Documentation/driver-api/early-userspace/buffer-format.rst of Linux.
    """
    contents = {"bin/busybox": busybox.read_bytes(), "init": init_script(last), **files}
    return b"".join(_entries(contents)).ljust(512, b"\0")


def _entries(files: Mapping[str, bytes]) -> Iterator[bytes]:
    parents = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    for name in sorted({"dev", "proc", "sys", "tmp"} | parents - {"."}):
        yield _entry(name, stat.S_IFDIR | 0o755)
    yield _entry("dev/console", stat.S_IFCHR | 0o600, device=_CONSOLE)
    for name, data in files.items():
        yield _entry(name, stat.S_IFREG | 0o755, data)
    yield _entry("TRAILER!!!", 0)


def _entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    path = name.encode() + b"\0"
    inode, owner, group, links, time = 0, 0, 0, 1, 0
    fields = (
        inode, mode, owner, group, links, time, len(data), 0, 0, *device, len(path), 0
    )  # fmt: skip
    head = _CPIO_MAGIC.encode() + b"".join(b"%08x" % field for field in fields) + path
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
