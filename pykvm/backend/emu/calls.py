"""Calls of the emulator's core that can fail."""

from __future__ import annotations

import errno
import os

from pykvm.errors import ClosedError, LayoutError, PykvmError, UsageError, explain

_WHY = {
    errno.EEXIST: "it overlaps other memory",
    errno.ENOSPC: "the emulator has no room for another region",
    errno.EINVAL: "it is not a number of 4 KiB pages",
    errno.ENOENT: "no memory is mapped there",
}

# What an error means for one call.
_HINTS = {
    ("an irqchip", errno.EEXIST): "the machine has interrupt chips",
    ("an irqchip", errno.EBUSY): "interrupt chips come before the first vCPU",
    ("a PIT", errno.EEXIST): "the machine has a PIT",
    ("a chip's state", errno.ENXIO): "the machine has no such chip",
    ("an ioeventfd", errno.EEXIST): "an ioeventfd has this address, size and datamatch",
    ("an ioeventfd", errno.ENOENT): "no ioeventfd has this address, size and datamatch",
    ("an ioeventfd", errno.ENOSPC): "the emulator has no room for another one",
    ("a coalesced zone", errno.ENOSPC): "the emulator has no room for another one",
    ("an irqfd", errno.ENXIO): "the machine has no interrupt chips",
    ("an irqfd", errno.EBUSY): "this eventfd is bound to an interrupt line",
    ("an irqfd", errno.ENOENT): "this eventfd is not bound to this line",
    ("a CPUID table", errno.ENOSPC): "a machine has at most 8 different kinds of processor",
    ("an irqfd", errno.ENOSPC): "the emulator has no room for another one",
    ("routes", errno.ENXIO): "the machine has no interrupt chips",
    ("routes", errno.EINVAL): "the machine has no such pin",
    ("a dirty log", errno.ENOENT): "the region is not logged",
}


def check(result: int, what: str) -> None:
    """Raise what a call failed of.

    Args:
        result: of the call: 0, or a negative errno.
        what: it was about.

    Raises:
        UsageError: the call did not return 0.
    """
    if result:
        why = _HINTS.get((what, -result)) or os.strerror(-result)
        raise UsageError(f"{what}: {why}")


def check_map(result: int, gpa: int, size_bytes: int) -> None:
    """Raise what a call about memory failed of.

    Raises:
        LayoutError: the call did not return 0.
        ClosedError: the machine is closed.
    """
    if result == -errno.EBADF:
        raise ClosedError("machine")
    if result:
        raise LayoutError(f"{size_bytes:#x} bytes at gpa {gpa:#x}: {_WHY[-result]}")


def out_of_memory(what: str) -> PykvmError:
    """The host has no memory for a part of the emulator."""
    return PykvmError(
        f"cannot make {what}: {explain(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))}"
    )
