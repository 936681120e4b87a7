"""The debug console of Bochs and QEMU: a byte written to its port is output."""

from __future__ import annotations

from collections.abc import Callable

IDENT = 0xE9  # what a read gives, so that a guest can tell that it is there


class DebugConsole:
    """The Python side; the backend's native console answers all but its overflow.

    Args:
        output: called with the bytes written.
    """

    def __init__(self, output: Callable[[bytes], None]) -> None:
        self._output = output

    def read(self, offset: int, size_bytes: int) -> int:
        """The ident byte in every position."""
        return int.from_bytes(bytes([IDENT]) * size_bytes, "little")

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """Output the bytes, low first."""
        self._output(value.to_bytes(size_bytes, "little"))
