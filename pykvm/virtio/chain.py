"""What a driver has put into a virtqueue: a chain of buffers in guest memory. §2.6, §2.7.4."""

from __future__ import annotations

from collections.abc import Iterable

from pykvm.errors import MemoryAccessError, PykvmError
from pykvm.memory import GuestMemory

CHAIN_BYTES_MAX = 1 << 32  # §2.7.5

Buffer = tuple[int, int]  # gpa and size_bytes of one descriptor's memory
Used = tuple[int, int, int]  # how a chain goes back: its head, its slots, how much was written


class QueueError(PykvmError):
    """The driver broke a rule; the message cites it."""


class Chain:
    """The buffers of one request: those to read come before those to write. §2.7.4.2.

    Attributes:
        head: the index, or in a packed ring the ID, by which it goes back.
        readable, writable: its buffers in order.
        readable_bytes, writable_bytes: how much there is of either.
        slots: descriptors that it takes up in a packed ring.
        ring: where it came from; written_bytes: what the device said when it was done.
    """

    __slots__ = (
        "_memory",
        "head",
        "readable",
        "readable_bytes",
        "ring",
        "slots",
        "writable",
        "writable_bytes",
        "written_bytes",
    )

    def __init__(
        self,
        memory: GuestMemory,
        ring: object,
        head: int,
        slots: int,
        readable: list[Buffer],
        writable: list[Buffer],
        readable_bytes: int,
        writable_bytes: int,
    ) -> None:
        self._memory = memory
        self.ring = ring
        self.head = head
        self.slots = slots
        self.readable = readable
        self.writable = writable
        self.readable_bytes = readable_bytes
        self.writable_bytes = writable_bytes
        self.written_bytes: int | None = None

    @classmethod
    def of(
        cls,
        memory: GuestMemory,
        ring: object,
        head: int,
        buffers: Iterable[tuple[int, int, bool]],
        slots: int = 1,
    ) -> Chain:
        """The chain of these buffers: address, size, and whether the device may write there.

        Raises:
            QueueError: one is empty, out of order, not RAM, read-only though it is to be
                written, or they are too many bytes.
        """
        readable: list[Buffer] = []
        writable: list[Buffer] = []
        read_bytes = write_bytes = 0
        for gpa, size_bytes, is_writable in buffers:
            if is_writable:
                writable.append((gpa, size_bytes))
                write_bytes += size_bytes
            elif write_bytes:
                raise QueueError("a buffer to read after one to write: §2.7.4.2")
            else:
                readable.append((gpa, size_bytes))
                read_bytes += size_bytes
            if size_bytes == 0:
                raise QueueError("a buffer of no bytes: §2.7.5")
            if read_bytes + write_bytes > CHAIN_BYTES_MAX:
                raise QueueError("a chain of more than 2^32 bytes: §2.7.5")
            if not memory.contains(gpa, size_bytes):
                raise QueueError(f"a buffer of {size_bytes} bytes at {gpa:#x} is not all RAM")
            if is_writable and not memory.is_writable(gpa, size_bytes):
                raise QueueError(f"a buffer to write at {gpa:#x} is read-only, not RAM")
        return cls(memory, ring, head, slots, readable, writable, read_bytes, write_bytes)

    def read(self, offset: int = 0, size_bytes: int | None = None) -> bytes:
        """Bytes of the readable part; fewer where it ends before."""
        end = self.readable_bytes if size_bytes is None else offset + size_bytes
        try:
            if self.readable:
                gpa, first_bytes = self.readable[0]
                if 0 <= offset < end <= first_bytes:
                    return self._memory.read(gpa + offset, end - offset)
            pieces = [self._memory.read(*each) for each in _cut(self.readable, offset, end)]
        except MemoryAccessError as error:
            raise QueueError(str(error)) from None
        return b"".join(pieces)

    def write(self, data: bytes | memoryview, offset: int = 0) -> int:
        """Put bytes into the writable part at `offset`; returns how many fitted."""
        end = offset + len(data)
        written = 0
        try:
            if self.writable and 0 <= offset < end <= self.writable[0][1]:
                self._memory.write_by_device(self.writable[0][0] + offset, data)
                return len(data)
            for gpa, length in _cut(self.writable, offset, end):
                self._memory.write_by_device(gpa, data[written : written + length])
                written += length
        except MemoryAccessError as error:
            raise QueueError(str(error)) from None
        return written


def _cut(buffers: list[Buffer], start: int, end: int) -> list[tuple[int, int]]:
    """Where bytes [start, end) of the buffers put together lie, as (gpa, size)."""
    pieces = []
    for gpa, size_bytes in buffers:
        if start < size_bytes:
            length = (size_bytes if size_bytes < end else end) - start
            if length > 0:
                pieces.append((gpa + start, length))
            start = 0
        else:
            start -= size_bytes
        end -= size_bytes
        if end <= 0:
            break
    return pieces


def read(memory: GuestMemory, gpa: int, size_bytes: int) -> bytes:
    """Copy out of guest memory; what is not there is the driver's mistake: QueueError."""
    try:
        return memory.read(gpa, size_bytes)
    except MemoryAccessError as error:
        raise QueueError(str(error)) from None


class Part:
    """A part of a ring, which must lie in one region: §2.7 and §2.8, the tables there.

    Args:
        written: the device writes there.

    Attributes:
        gpa: where it lies.
        view: its bytes. `halves` are 16 bits each, and are read and written at once: both sides
            use them at the same time.
    """

    __slots__ = ("_region", "gpa", "halves", "view")

    def __init__(
        self,
        memory: GuestMemory,
        name: str,
        gpa: int,
        align: int,
        size_bytes: int,
        *,
        written: bool = False,
    ) -> None:
        if gpa % align:
            raise QueueError(f"{name} at {gpa:#x}: §2.7 and §2.8 align it to {align}")
        region = memory.region_of(gpa, size_bytes)
        if region is None:
            raise QueueError(f"{name} at {gpa:#x} is not all RAM")
        if written and region.readonly:
            raise QueueError(f"{name} at {gpa:#x} is read-only, not RAM")
        self.gpa, self._region = gpa, region
        self.view = memory.view(gpa, size_bytes)
        self.halves = self.view.cast("H")

    def changed(self, offset: int, size_bytes: int) -> None:
        """Tell whoever asked that the device has written there."""
        told = self._region.on_write
        if told is not None:
            told(self.gpa + offset, size_bytes)


def check_table(memory: GuestMemory, gpa: int, size_bytes: int, entries_max: int) -> None:
    """An indirect table is one, and no longer than a chain may be. §2.7.5.3, §2.8.7."""
    if size_bytes == 0 or size_bytes % 16:
        raise QueueError(f"an indirect table of {size_bytes} bytes: §2.7.5.3, §2.8.7")
    if size_bytes > 16 * entries_max:
        raise QueueError(f"a chain of {size_bytes // 16} buffers: §2.7.5.3.1, §2.8.17")
    if not memory.contains(gpa, size_bytes):
        raise QueueError(f"an indirect table at {gpa:#x} is not all RAM")
