"""Files that a bench writes: what cannot be written is known before anything is measured, and what
was there before gives way only to what is whole.

`tempfile` would load libraries, see `sampler`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pykvm.files import open_stream, replace_file, scratch_file

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
                self._fd = open_stream(path)  # it stays open: a reader takes a close for the end
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
    with _naming(path):
        replace_file(Path(os.path.realpath(path)), data)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let errors name the file that the user named."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _probe(directory: Path) -> None:
    with scratch_file(directory):
        pass
