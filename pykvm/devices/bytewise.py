"""Devices behind an 8-bit data path: a wider access is one access per byte, low byte first."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Bytewise(ABC):
    """A device of byte registers; what a 16-bit OUT does to two of them is what ISA does."""

    def read(self, offset: int, size_bytes: int) -> int:
        """The registers from `offset` on, little-endian."""
        if size_bytes == 1:
            return self.read_byte(offset)
        return int.from_bytes(
            bytes(self.read_byte(offset + i) for i in range(size_bytes)), "little"
        )

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """Write the registers from `offset` on, in ascending order."""
        for i in range(size_bytes):
            self.write_byte(offset + i, value >> 8 * i & 0xFF)

    @abstractmethod
    def read_byte(self, offset: int) -> int:
        """One register, 0 to 255."""

    @abstractmethod
    def write_byte(self, offset: int, value: int) -> None:
        """Write one register."""
