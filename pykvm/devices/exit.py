"""Ports by which a guest ends its run with a status."""

from __future__ import annotations

from collections.abc import Callable


class ExitPort:
    """A write ends the run; the value is the status. Reads give 0.

    Args:
        end: called with the status.
    """

    def __init__(self, end: Callable[[int], None]) -> None:
        self._end = end

    def read(self, offset: int, size_bytes: int) -> int:
        """Nothing to read."""
        return 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """End the run."""
        self._end(value)


class IsaDebugExit(ExitPort):
    """The form that QEMU's `isa-debug-exit` has: the status is 2 * value + 1."""

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """End the run."""
        self._end(value << 1 | 1)
