"""Port and MMIO address spaces: who answers which address. Overlap is an error."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple, Protocol

from pykvm.errors import BusError, UnclaimedAccess, UsageError


class Device(Protocol):
    """What a bus needs of a device: registers by offset. It does not know where it sits."""

    def read(self, offset: int, size_bytes: int) -> int:
        """The value at `offset`, unsigned, of `size_bytes` bytes."""
        ...

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """Store `value` at `offset`."""
        ...


class Claim(NamedTuple):
    """A range of addresses and the device that answers them."""

    base: int
    end: int
    name: str
    read: Callable[[int, int], int]
    write: Callable[[int, int, int], None]


class Bus:
    """One address space.

    Args:
        space: "port" or "mmio".
        limit: first address behind the space.
    """

    def __init__(self, space: str, limit: int) -> None:
        self.space = space
        self.limit = limit
        self.float_unclaimed = False
        self.claims: list[Claim] = []
        self._bases: list[int] = []

    def claim(self, base: int, size_bytes: int, device: Device, name: str = "") -> None:
        """Let `device` answer [base, base + size_bytes).

        Raises:
            BusError: out of range, empty, or overlapping another claim.
            UsageError: no whole numbers, or a device without `read` and `write`.
        """
        name = name or type(device).__name__
        if not callable(getattr(device, "read", None) and getattr(device, "write", None)):
            raise UsageError(f"a device has methods read and write, which {device!r} lacks")
        self.reserve(base, size_bytes, name)
        claim = Claim(base, base + size_bytes, name, device.read, device.write)
        index = bisect_right(self._bases, base)
        self.claims.insert(index, claim)
        self._bases.insert(index, base)

    def reserve(self, base: int, size_bytes: int, name: str) -> None:
        """Check that a range is free. Raises BusError where it is not, UsageError for no range."""
        for number in (base, size_bytes):
            if type(number) is not int:
                raise UsageError(f"{name}: a {self.space} range is two numbers, not {number!r}")
        end = base + size_bytes
        if size_bytes <= 0 or base < 0 or end > self.limit:
            raise BusError(f"{name}: {self.space} range {base:#x}..{end:#x} is outside the space")
        for other in self.claims:
            if base < other.end and other.base < end:
                raise BusError(
                    f"{name}: {self.space} range {base:#x}..{end:#x} overlaps {other.name} "
                    f"at {other.base:#x}..{other.end:#x}"
                )

    def find(self, address: int, size_bytes: int) -> Claim | None:
        """The claim that holds the whole access."""
        index = bisect_right(self._bases, address) - 1
        if index < 0 or address + size_bytes > self.claims[index].end:
            return None
        return self.claims[index]

    def reader(self, address: int, size_bytes: int) -> Callable[[], int] | None:
        """What `read` would do, looked up once; None where nobody claims the address."""
        claim = self.find(address, size_bytes)
        if claim is None:
            return None
        read, offset = claim.read, address - claim.base
        return lambda: read(offset, size_bytes)

    def writer(
        self, address: int, size_bytes: int
    ) -> tuple[Callable[[int, int, int], None], int, int] | None:
        """What `write` would call with the value as third argument, looked up once."""
        claim = self.find(address, size_bytes)
        return claim and (claim.write, address - claim.base, size_bytes)

    def read(self, address: int, size_bytes: int) -> int:
        """Ask the device at `address`.

        Raises:
            UnclaimedAccess: nobody is there, unless `float_unclaimed` gives all ones.
        """
        claim = self.find(address, size_bytes)
        if claim is not None:
            return claim.read(address - claim.base, size_bytes)
        if self.float_unclaimed:
            return (1 << 8 * size_bytes) - 1
        raise UnclaimedAccess(self.space, address, size_bytes, None)

    def write(self, address: int, size_bytes: int, value: int) -> None:
        """Tell the device at `address`.

        Raises:
            UnclaimedAccess: nobody is there, unless `float_unclaimed` ignores it.
        """
        claim = self.find(address, size_bytes)
        if claim is not None:
            claim.write(address - claim.base, size_bytes, value)
        elif not self.float_unclaimed:
            raise UnclaimedAccess(self.space, address, size_bytes, value)
