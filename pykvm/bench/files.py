"""Files that a bench writes: what cannot be written is known before anything is measured, and what
was there before gives way only to what is whole.

`tempfile` would load libraries, see `sampler`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PAGE = "index.html"  # of a report


class Target:
    """A file to be written later.

    Attributes:
        path: as the user names it.
        real: where links lead; None for what is no regular file, such as a FIFO or /dev/null.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, stack: ExitStack, *, later: Path | None = None) -> None:
        """Find out whether it can be written.

        Args:
            stack: closes what has to stay open.
            later: a directory that need not be there yet.
        """
        self.path = path
        self.real: Path | None = None
        self._fd = -1
        with _naming(path):
            status = _status(path)
            if status is not None and not stat.S_ISREG(status.st_mode):
                self._fd = _open_special(path)
                stack.callback(os.close, self._fd)
                return
            self.real = Path(os.path.realpath(path))
            if status is not None:
                os.close(os.open(path, os.O_WRONLY))
            if self.real.parent != later:
                _probe(self.real.parent)

    def write(self, text: str) -> None:
        """Do so.

        Raises:
            OSError: it cannot be written.
        """
        with _naming(self.path):
            if self.real is not None:
                replace(self.real, text.encode())
                return
            with open(self._fd, "wb", closefd=False) as file:
                file.write(text.encode())


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _open_special(path: Path) -> int:
    """Open what is no regular file.

    It stays open: the reader of a FIFO takes the first close for the end.
    """
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)  # else a FIFO waits for a reader
    os.set_blocking(fd, True)
    return fd


def check_directory(path: Path) -> Path:
    """Find out whether files can be written to a directory that may not be there yet.

    Returns:
        Where links lead.

    Raises:
        OSError: they cannot be.
    """
    real = Path(os.path.realpath(path))
    with _naming(path):
        _probe(next(each for each in (real, *real.parents) if _status(each) is not None))
    return real


def replace(path: Path, data: bytes) -> None:
    """Write a file beside the one that it then takes the place of; links stay.

    Raises:
        OSError: it cannot be written, and what was there before still is.
    """
    real = Path(os.path.realpath(path))
    with _naming(path), _scratch(real.parent) as (scratch, fd):
        with open(fd, "wb", closefd=False) as stream:
            stream.write(data)
        if (status := _status(real)) is not None:
            with suppress(PermissionError):
                os.fchown(fd, status.st_uid, status.st_gid)
            os.fchmod(fd, stat.S_IMODE(status.st_mode))
        scratch.replace(real)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let errors name the file that the user named."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _probe(directory: Path) -> None:
    with _scratch(directory):
        pass


@contextmanager
def _scratch(directory: Path) -> Iterator[tuple[Path, int]]:
    """A new file, which is gone afterwards if it was not renamed."""
    path = directory / f".pykvm-{os.urandom(8).hex()}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        yield path, fd
    finally:
        os.close(fd)
        with suppress(FileNotFoundError):
            path.unlink()
