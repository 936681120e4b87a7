"""A split virtqueue as its device sees it: take chains, give them back, ask whether to notify.

The queue knows no device and no transport. Whatever the driver does wrong raises QueueError,
nothing outside its buffers is touched, and every walk is bounded. Source: VIRTIO 1.2 §2.7.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pykvm.errors import MemoryAccessError, PykvmError
from pykvm.memory import GuestMemory
from pykvm.virtio import spec


class QueueError(PykvmError):
    """The driver broke a rule; the message cites it."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """One descriptor's memory.

    Attributes:
        writable: by the device; otherwise it is for the device to read.
    """

    gpa: int
    size_bytes: int
    writable: bool


class Chain:
    """The buffers of one request: those to read come before those to write. §2.7.4.2.

    Attributes:
        head: the index by which it goes back.
        readable, writable: its buffers in order.
    """

    __slots__ = ("_memory", "head", "readable", "writable")

    def __init__(
        self, memory: GuestMemory, head: int, readable: list[Buffer], writable: list[Buffer]
    ) -> None:
        self._memory = memory
        self.head = head
        self.readable = readable
        self.writable = writable

    @property
    def readable_bytes(self) -> int:
        """How much there is to read."""
        return sum(each.size_bytes for each in self.readable)

    @property
    def writable_bytes(self) -> int:
        """How much can be written."""
        return sum(each.size_bytes for each in self.writable)

    def read(self, offset: int = 0, size_bytes: int | None = None) -> bytes:
        """Bytes of the readable part; fewer where it ends before."""
        end = self.readable_bytes if size_bytes is None else offset + size_bytes
        pieces = _overlap(self.readable, offset, end)
        return b"".join(self._memory.read(gpa, length) for gpa, length in pieces)

    def write(self, data: bytes | memoryview, offset: int = 0) -> int:
        """Put bytes into the writable part at `offset`; returns how many fitted."""
        written = 0
        for gpa, length in _overlap(self.writable, offset, offset + len(data)):
            self._memory.write(gpa, bytes(data[written : written + length]))
            written += length
        return written


def _overlap(buffers: list[Buffer], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where bytes [start, end) of the buffers put together lie, as (gpa, size)."""
    for buffer in buffers:
        if end <= 0:
            return
        if start < buffer.size_bytes:
            length = min(buffer.size_bytes, end) - start
            yield buffer.gpa + start, length
            start = 0
        else:
            start -= buffer.size_bytes
        end -= buffer.size_bytes


class Queue:
    """A split virtqueue of `size` entries.

    Attributes:
        size: a power of 2, at most `size_max`.
        ready: the driver has set it up.
        desc_gpa, driver_gpa, device_gpa: its three parts.
        event_idx: VIRTIO_F_EVENT_IDX was negotiated; `indirect`: VIRTIO_F_INDIRECT_DESC.
    """

    def __init__(self, memory: GuestMemory, size_max: int) -> None:
        self.memory = memory
        self.size_max = size_max
        self.reset()

    def reset(self) -> None:
        """As it was before the driver touched it."""
        self.size = self.size_max
        self.ready = False
        self.desc_gpa = self.driver_gpa = self.device_gpa = 0
        self.event_idx = self.indirect = False
        self._next_available = 0
        self._next_used = 0
        self._signalled_used = 0
        self._out = 0

    def enable(self, *, event_idx: bool, indirect: bool) -> None:
        """The driver says that it is set up: check its place once, before any use.

        Raises:
            QueueError: size, alignment or place is not allowed.
        """
        if not 0 < self.size <= self.size_max or self.size & (self.size - 1):
            raise QueueError(f"a queue of {self.size} entries: §2.7 wants a power of 2")
        for name, gpa, align, size_bytes in (
            ("descriptor table", self.desc_gpa, spec.DESC_ALIGN, 16 * self.size),
            ("available ring", self.driver_gpa, spec.DRIVER_ALIGN, 6 + 2 * self.size),
            ("used ring", self.device_gpa, spec.DEVICE_ALIGN, 6 + 8 * self.size),
        ):
            if gpa % align:
                raise QueueError(f"{name} at {gpa:#x}: §2.7 aligns it to {align}")
            if not self.memory.contains(gpa, size_bytes):
                raise QueueError(f"{name} at {gpa:#x} is not all RAM")
        self.event_idx, self.indirect = event_idx, indirect
        self._next_available = self._next_used = self._signalled_used = self._out = 0
        self.ready = True

    # Taking.

    def pop(self) -> Chain | None:
        """The next chain that the driver has made available; None where there is none.

        Raises:
            QueueError: the ring or the chain breaks a rule.
        """
        if not self.ready:
            return None
        waiting = (self._available_index() - self._next_available) & 0xFFFF
        if waiting == 0:
            return None
        if waiting > self.size:
            raise QueueError(f"{waiting} chains in a ring of {self.size}: §2.7.13.3.1")
        if self._out >= self.size:
            raise QueueError(f"more chains than the queue's {self.size} entries are out")
        slot = self.driver_gpa + 4 + 2 * (self._next_available % self.size)
        (head,) = spec.INDEX.unpack(self._read(slot, 2))
        chain = self._chain(head)
        self._next_available = (self._next_available + 1) & 0xFFFF
        self._out += 1
        if self.event_idx:  # §2.7.10: tell from which on a notification is wanted
            self._write(self.device_gpa + 4 + 8 * self.size, spec.INDEX.pack(self._next_available))
        return chain

    def __iter__(self) -> Iterator[Chain]:
        """All chains that are there: one notification drains them."""
        while (chain := self.pop()) is not None:
            yield chain

    def _available_index(self) -> int:
        return int(spec.INDEX.unpack(self._read(self.driver_gpa + 2, 2))[0])

    def _chain(self, head: int) -> Chain:
        readable: list[Buffer] = []
        writable: list[Buffer] = []
        total_bytes = 0
        for buffer in self._walk(head):
            if buffer.writable:
                writable.append(buffer)
            elif writable:
                raise QueueError("a buffer to read after one to write: §2.7.4.2")
            else:
                readable.append(buffer)
            total_bytes += buffer.size_bytes
            if total_bytes > 1 << 32:
                raise QueueError("a chain of more than 2^32 bytes: §2.7.5.2")
            if not self.memory.contains(buffer.gpa, buffer.size_bytes):
                raise QueueError(
                    f"a buffer of {buffer.size_bytes} bytes at {buffer.gpa:#x} is not all RAM"
                )
        return Chain(self.memory, head, readable, writable)

    def _walk(self, head: int) -> Iterator[Buffer]:
        """The buffers of a chain in order; at most `size` of them. §2.7.5."""
        table, count, index, indirect = self.desc_gpa, self.size, head, False
        for _ in range(self.size):
            if index >= count:
                raise QueueError(f"descriptor {index} of a table of {count}: §2.7.5")
            gpa, size_bytes, flags, following = spec.DESCRIPTOR.unpack(
                self._read(table + 16 * index, 16)
            )
            if flags & spec.DESC_F_INDIRECT:
                self._check_indirect(indirect, flags, size_bytes)
                table, count, index, indirect = gpa, size_bytes // 16, 0, True
                if count > self.size:
                    raise QueueError(f"an indirect table of {count} entries: §2.7.5.3.1")
                if not self.memory.contains(table, size_bytes):
                    raise QueueError(f"an indirect table at {table:#x} is not all RAM")
                continue
            if size_bytes == 0:
                raise QueueError("a buffer of no bytes: §2.7.5")
            yield Buffer(gpa, size_bytes, bool(flags & spec.DESC_F_WRITE))
            if not flags & spec.DESC_F_NEXT:
                return
            index = following
        raise QueueError(f"a chain of more than {self.size} descriptors, or a loop: §2.7.5.2")

    def _check_indirect(self, inside: bool, flags: int, size_bytes: int) -> None:
        if not self.indirect:
            raise QueueError("an indirect table without VIRTIO_F_INDIRECT_DESC: §2.7.5.3.1")
        if inside:
            raise QueueError("an indirect table within an indirect table: §2.7.5.3.1")
        if flags & spec.DESC_F_NEXT:
            raise QueueError("a descriptor with both INDIRECT and NEXT: §2.7.5.3.1")
        if size_bytes == 0 or size_bytes % 16:
            raise QueueError(f"an indirect table of {size_bytes} bytes: §2.7.5.3.1")

    # Giving back.

    def push(self, chain: Chain, written_bytes: int = 0) -> None:
        """Give a chain back, with how many bytes were written to its start. §2.7.8."""
        slot = self.device_gpa + 4 + 8 * (self._next_used % self.size)
        self._write(slot, spec.USED_ELEMENT.pack(chain.head, written_bytes))
        self._next_used = (self._next_used + 1) & 0xFFFF
        self._out -= 1
        self._write(self.device_gpa + 2, spec.INDEX.pack(self._next_used))

    def needs_notification(self) -> bool:
        """Whether the driver wants to hear of what was given back since it last did. §2.7.7."""
        old, new = self._signalled_used, self._next_used
        if old == new:
            return False
        self._signalled_used = new
        if self.event_idx:
            gpa = self.driver_gpa + 4 + 2 * self.size
            (event,) = spec.INDEX.unpack(self._read(gpa, 2))
            return int(new - event - 1) & 0xFFFF < (new - old) & 0xFFFF
        flags = self._read(self.driver_gpa, 2)[0]
        return not flags & spec.AVAIL_F_NO_INTERRUPT

    def _read(self, gpa: int, size_bytes: int) -> bytes:
        try:
            return self.memory.read(gpa, size_bytes)
        except MemoryAccessError as error:
            raise QueueError(str(error)) from None

    def _write(self, gpa: int, data: bytes) -> None:
        try:
            self.memory.write(gpa, data)
        except MemoryAccessError as error:
            raise QueueError(str(error)) from None
