"""What a block device reads and writes: memory, a raw image in a file, an overlay over either."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from pathlib import Path

from pykvm.errors import DiskError
from pykvm.files import open_regular

SECTOR_BYTES = 512
CLUSTER_BYTES = 4096  # what an overlay copies at a time
CHUNK_BYTES = 1 << 20  # copied at a time where a range is larger
_PAGE_BYTES = mmap.ALLOCATIONGRANULARITY
_OTHER = b"\1", b"\0"


class Disk:
    """Sectors. Whoever calls keeps to [0, size_bytes); the host's failures come as OSError.

    Attributes:
        size_bytes: a multiple of SECTOR_BYTES.
        readonly: nothing but `read` is asked of it.
        name: what the guest sees as its identifier.
        block_bytes: what it is best written in, a power of 2.
    """

    size_bytes: int
    readonly = False
    name = "pykvm"
    block_bytes = SECTOR_BYTES

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Exactly that many bytes."""
        raise NotImplementedError

    def write(self, offset: int, data: bytes) -> None:
        """All of `data`, which need not be stable before the next flush."""
        raise NotImplementedError

    def clear(self, offset: int, size_bytes: int) -> None:
        """Make a range read as zeros, giving its storage back where that is possible."""
        raise NotImplementedError

    def discard(self, offset: int, size_bytes: int) -> None:
        """The range's content does not matter any more."""
        self.clear(offset, size_bytes)

    def flush(self) -> None:
        """Return when everything written before is stable."""

    def measure(self) -> None:
        """See whether the size has changed."""

    def close(self) -> None:
        """Give descriptors back."""


class MemoryDisk(Disk):
    """A disk in this process's memory.

    Args:
        content: its bytes, or how many zeros it starts as.

    Raises:
        DiskError: something else, no whole number of sectors, or more than there is memory for.
    """

    def __init__(self, content: int | bytes | bytearray, *, readonly: bool = False) -> None:
        try:
            self.data = bytearray(content)
        except (TypeError, ValueError, OverflowError):
            raise DiskError(
                f"a disk in memory is bytes or a number of them, not {content!r:.40}"
            ) from None
        except MemoryError:
            raise DiskError(f"there is no memory for a disk of {content!r:.40} bytes") from None
        self.size_bytes = len(self.data)
        self.readonly = readonly
        self.name = "memory"
        _check_size(self.size_bytes, "a disk in memory")

    def read(self, offset: int, size_bytes: int) -> bytes:
        """A copy."""
        return bytes(self.data[offset : offset + size_bytes])

    def write(self, offset: int, data: bytes) -> None:
        """Replace bytes."""
        self.data[offset : offset + len(data)] = data

    def clear(self, offset: int, size_bytes: int) -> None:
        """Make a range zeros."""
        self.data[offset : offset + size_bytes] = bytes(size_bytes)


class FileDisk(Disk):
    """A raw image in a file, or a block device of the host.

    It is locked for as long as it is open: several may read it, or one may write it.

    Raises:
        DiskError: it cannot be opened, is in use, or is no whole number of sectors.
    """

    def __init__(self, path: Path | str, *, readonly: bool = False) -> None:
        self.path = Path(path)
        self.readonly = readonly
        self.name = self.path.name
        try:
            mode = os.O_RDONLY if readonly else os.O_RDWR
            self._fd = open_regular(self.path, mode, devices=True)
        except (OSError, ValueError) as error:
            raise DiskError(f"cannot open {self.path}: {_reason(error)}") from error
        try:
            self._lock()
            self.measure()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise DiskError(f"{self.path} cannot be a disk: {_reason(error)}") from error
            raise

    def _lock(self) -> None:
        self.block_bytes = min(max(os.fstat(self._fd).st_blksize, SECTOR_BYTES), 1 << 16)
        kind = fcntl.LOCK_SH if self.readonly else fcntl.LOCK_EX
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DiskError(
                f"{self.path} is in use by another machine; open it read-only in both, "
                "or give each a copy-on-write overlay"
            ) from None

    def measure(self) -> None:
        """Take the file's size as it is now."""
        size_bytes = os.lseek(self._fd, 0, os.SEEK_END)
        _check_size(size_bytes, str(self.path))
        self.size_bytes = size_bytes

    def read(self, offset: int, size_bytes: int) -> bytes:
        """From the file; an end that came nearer is an error."""
        data = os.pread(self._fd, size_bytes, offset)
        while len(data) < size_bytes:
            more = os.pread(self._fd, size_bytes - len(data), offset + len(data))
            if not more:
                raise OSError(errno.EIO, f"{self.path} has become shorter")
            data += more
        return data

    def write(self, offset: int, data: bytes) -> None:
        """To the file, by way of the host's cache."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, offset)
            view = view[written:]
            offset += written

    def clear(self, offset: int, size_bytes: int) -> None:
        """Make a hole of the whole pages, and write zeros to the rest."""
        start, end = _pages(offset, size_bytes)
        if start < end and self._punch(start, end - start):
            self._write_zeros(offset, start)
            self._write_zeros(end, offset + size_bytes)
        else:
            self._write_zeros(offset, offset + size_bytes)

    def discard(self, offset: int, size_bytes: int) -> None:
        """Make a hole of the whole pages, where the file system can."""
        start, end = _pages(offset, size_bytes)
        if start < end:
            self._punch(start, end - start)

    def _punch(self, offset: int, size_bytes: int) -> bool:
        """Give pages back: what fallocate(2) does to a descriptor, madvise(2) does to a map."""
        try:
            with mmap.mmap(self._fd, size_bytes, offset=offset) as view:
                view.madvise(mmap.MADV_REMOVE)
        except (OSError, ValueError):
            return False
        return True

    def _write_zeros(self, start: int, end: int) -> None:
        while start < end:
            size_bytes = min(end - start, CHUNK_BYTES)
            self.write(start, bytes(size_bytes))
            start += size_bytes

    def flush(self) -> None:
        """To the storage itself: fdatasync(2)."""
        if not self.readonly:
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file, which also unlocks it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class OverlayDisk(Disk):
    """Another disk, which is only read, with what is written kept apart and forgotten at the end.

    Changes go to a temporary file without a name, as large as they are.

    Args:
        base: closed together with this one.
        directory: where the temporary file is; the system's choice otherwise.

    Raises:
        DiskError: the base is no disk, or there can be no file of that size.
    """

    def __init__(self, base: Disk, directory: Path | str | None = None) -> None:
        self.base = check_disk(base)
        self.size_bytes = base.size_bytes
        self.name = base.name
        self.block_bytes = max(base.block_bytes, CLUSTER_BYTES)
        import tempfile  # here: what it loads would make KVM_CREATE_VM slower for all

        try:
            self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115
        except OSError as error:
            where = directory or "the directory for temporary files"
            raise DiskError(f"{where} takes no overlay: {_reason(error)}") from error
        try:
            self._file.truncate(self.size_bytes)
            self._top = FileDisk(f"/proc/self/fd/{self._file.fileno()}")
            self._is_changed = _zeros(-(-self.size_bytes // CLUSTER_BYTES))  # a byte a cluster
        except (OSError, DiskError) as error:
            self._file.close()
            raise DiskError(f"no overlay of {self.size_bytes} bytes: {_reason(error)}") from error

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Each run of clusters from where it is."""
        pieces, end = [], offset + size_bytes
        while offset < end:
            cluster = offset // CLUSTER_BYTES
            changed = self._is_changed[cluster]
            after = self._is_changed.find(_OTHER[changed], cluster, -(-end // CLUSTER_BYTES))
            stop = end if after < 0 else after * CLUSTER_BYTES
            source = self._top if changed else self.base
            pieces.append(source.read(offset, stop - offset))
            offset = stop
        return b"".join(pieces)

    def write(self, offset: int, data: bytes) -> None:
        """To the temporary file, which takes over the clusters."""
        self._take_over(offset, len(data))
        self._top.write(offset, data)

    def clear(self, offset: int, size_bytes: int) -> None:
        """Zeros hide what the base has there."""
        self._take_over(offset, size_bytes)
        self._top.clear(offset, size_bytes)

    def _take_over(self, offset: int, size_bytes: int) -> None:
        """Copy the clusters that a change covers only partly, and note all of them as changed."""
        if not size_bytes:
            return
        end = offset + size_bytes
        first, last = offset // CLUSTER_BYTES, (end - 1) // CLUSTER_BYTES
        for cluster in {first, last}:
            start = cluster * CLUSTER_BYTES
            stop = min(start + CLUSTER_BYTES, self.size_bytes)
            if not self._is_changed[cluster] and not (offset <= start and stop <= end):
                self._top.write(start, self.base.read(start, stop - start))
        self._is_changed[first : last + 1] = b"\1" * (last + 1 - first)

    def close(self) -> None:
        """Forget the changes."""
        self._top.close()
        self._file.close()
        self.base.close()


def check_disk(disk: Disk) -> Disk:
    """A disk itself.

    Raises:
        DiskError: it is something else, such as a path.
    """
    if not isinstance(disk, Disk):
        raise DiskError(f"a disk is wanted, such as FileDisk(path), not {disk!r}")
    return disk


def _zeros(size_bytes: int) -> mmap.mmap:
    """Zeros that take no memory until they are changed."""
    return mmap.mmap(-1, size_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _pages(offset: int, size_bytes: int) -> tuple[int, int]:
    """The whole pages of a range, from and up to."""
    start = -(-offset // _PAGE_BYTES) * _PAGE_BYTES
    return start, (offset + size_bytes) // _PAGE_BYTES * _PAGE_BYTES


def _check_size(size_bytes: int, what: str) -> None:
    if size_bytes == 0:
        raise DiskError(f"{what} is empty; `truncate -s 64M FILE` gives it a size")
    if size_bytes % SECTOR_BYTES:
        raise DiskError(
            f"{what} has {size_bytes} bytes, which is no whole number of {SECTOR_BYTES}-byte "
            f"sectors; `truncate -s %{SECTOR_BYTES} FILE` fills the last one up"
        )


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
