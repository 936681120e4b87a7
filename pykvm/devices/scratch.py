"""A little memory behind exits: what is written can be read back."""

from __future__ import annotations

from pykvm.errors import UsageError

SIZE_MAX = 1 << 30


class Scratch:
    """`size_bytes` bytes of registers without side effects, for lessons and measurements."""

    def __init__(self, size_bytes: int) -> None:
        if type(size_bytes) is not int or not 0 < size_bytes <= SIZE_MAX:
            raise UsageError(f"a scratch has 1 to {SIZE_MAX} bytes, not {size_bytes!r}")
        self.data = bytearray(size_bytes)

    def read(self, offset: int, size_bytes: int) -> int:
        """Little-endian bytes at `offset`."""
        return int.from_bytes(self.data[offset : offset + size_bytes], "little")

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """Store them."""
        self.data[offset : offset + size_bytes] = value.to_bytes(size_bytes, "little")
