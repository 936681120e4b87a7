"""Files by their names: what is opened makes nobody wait, what is made takes nothing's place."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def open_regular(path: Path | str, flags: int = os.O_RDONLY, *, devices: bool = False) -> int:
    """Open a regular file; nothing else is touched, since opening a FIFO waits, and a device acts.

    Args:
        devices: whether it may be a block device, too.

    Raises:
        OSError: it cannot be opened, or is something else.
    """
    _check_kind(os.stat(path), devices)  # noqa: PTH116 - a Path would be made for nothing
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _check_kind(os.fstat(fd), devices)  # it may be another one by now
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_kind(status: os.stat_result, devices: bool) -> None:
    if not stat.S_ISREG(status.st_mode) and not (devices and stat.S_ISBLK(status.st_mode)):
        what = "is neither a file nor a block device" if devices else "is not a regular file"
        raise OSError(errno.EINVAL, what)


def read_regular(path: Path | str, limit_bytes: int, flags: int = 0) -> bytes:
    """All of a regular file, as long as it is when it is opened.

    Some files of the kernel's say that they are empty, and never end; they are empty here.

    Args:
        flags: of open(2), beside those for reading.

    Raises:
        OSError: it cannot be read, is none, or is larger than `limit_bytes`.
    """
    fd = open_regular(path, flags)
    with os.fdopen(fd, "rb") as file:
        size_bytes = os.fstat(fd).st_size
        if size_bytes > limit_bytes:
            raise OSError(errno.EFBIG, f"is larger than {_size(limit_bytes)}")
        return file.read(size_bytes) or b""


def _size(size_bytes: int) -> str:
    for unit, shift in (("GiB", 30), ("MiB", 20)):
        if size_bytes >> shift:
            return f"{size_bytes >> shift} {unit}"
    return f"{size_bytes} bytes"


def create_new(path: Path | str) -> int:
    """Make a new file and open it for writing, or open a pipe or a terminal that is there.

    A file that is there stays as it is, also one that a link leads to, and no link is followed to
    a place where there is none yet.

    Raises:
        OSError: it cannot be made.
    """
    try:
        kind = os.stat(path).st_mode  # noqa: PTH116 - a Path would be made for nothing
    except FileNotFoundError:
        kind = 0
    if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
        return open_stream(path)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def open_stream(path: Path | str) -> int:
    """Open a pipe or a device for writing, without waiting for a reader.

    Raises:
        OSError: it cannot be opened.
    """
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    os.set_blocking(fd, True)
    return fd


def replace_file(path: Path, data: bytes) -> None:
    """Write a file beside the one that it then takes the place of.

    Raises:
        OSError: it cannot be written, and what was there before still is; or a link is there.
    """
    status = _status(path)
    if status is not None and stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "is a link; name the file that it leads to")
    with scratch_file(path.parent) as (scratch, fd):
        with os.fdopen(fd, "wb", closefd=False) as stream:
            stream.write(data)
        if status is not None:
            with suppress(PermissionError):
                os.fchown(fd, status.st_uid, status.st_gid)
            os.fchmod(fd, stat.S_IMODE(status.st_mode))
        scratch.replace(path)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


@contextmanager
def scratch_file(directory: Path) -> Iterator[tuple[Path, int]]:
    """A new file, which is gone afterwards if it was not renamed."""
    path = directory / f".pykvm-{os.urandom(8).hex()}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        yield path, fd
    finally:
        os.close(fd)
        with suppress(FileNotFoundError):
            path.unlink()
