"""Calls of the emulator's core that can fail."""

from __future__ import annotations

import errno
import os

from pykvm.errors import LayoutError, PykvmError

_WHY = {
    errno.EEXIST: "it overlaps other memory",
    errno.ENOSPC: "the emulator has no room for another region",
    errno.EINVAL: "it is not a number of 4 KiB pages",
    errno.ENOENT: "no memory is mapped there",
}


def check_map(result: int, gpa: int, size_bytes: int) -> None:
    """Raise what a call about memory failed of.

    Raises:
        LayoutError: the call did not return 0.
    """
    if result:
        raise LayoutError(f"{size_bytes:#x} bytes at gpa {gpa:#x}: {_WHY[-result]}")


def out_of_memory(what: str) -> PykvmError:
    """The host has no memory for a part of the emulator."""
    return PykvmError(f"cannot make {what}: {os.strerror(errno.ENOMEM)}")
