"""A little memory behind exits: what is written can be read back."""

from __future__ import annotations


class Scratch:
    """`size_bytes` bytes of registers without side effects, for lessons and measurements."""

    def __init__(self, size_bytes: int) -> None:
        self.data = bytearray(size_bytes)

    def read(self, offset: int, size_bytes: int) -> int:
        """Little-endian bytes at `offset`."""
        return int.from_bytes(self.data[offset : offset + size_bytes], "little")

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """Store them."""
        self.data[offset : offset + size_bytes] = value.to_bytes(size_bytes, "little")
