"""The split virtqueue's form in memory: descriptor table, available ring, used ring. §2.7."""

from __future__ import annotations

from collections.abc import Iterator

from pykvm.memory import GuestMemory
from pykvm.virtio import spec
from pykvm.virtio.chain import Buffer, Chain, QueueError, check_place, check_table, read, write


class SplitRing:
    """The device's side of one that the driver has set up.

    Raises:
        QueueError: size, alignment or place is not allowed; later, whatever else the driver
            does wrong.
    """

    def __init__(
        self,
        memory: GuestMemory,
        size: int,
        places: tuple[int, int, int],
        features: int,
    ) -> None:
        if size & (size - 1):
            raise QueueError(f"a queue of {size} entries: §2.7 wants a power of 2")
        check_place(memory, "descriptor table", places[0], 16, 16 * size)
        check_place(memory, "available ring", places[1], 2, 6 + 2 * size)
        check_place(memory, "used ring", places[2], 4, 6 + 8 * size)
        self._memory, self._size = memory, size
        self._table, self._available, self._used = places
        self._event_idx = bool(features & spec.F_EVENT_IDX)
        self._indirect = bool(features & spec.F_INDIRECT_DESC)
        self._next_available = self._next_used = self._signalled = 0
        self._quiet = True
        self._out = 0
        self.listen()

    # Taking.

    def take(self) -> Chain | None:
        """The next chain that the driver has made available. §2.7.13."""
        waiting = self._waiting()
        if waiting == 0:
            return None
        if waiting > self._size:
            raise QueueError(f"{waiting} chains in a ring of {self._size}: §2.7.13.3.1")
        if self._out >= self._size:
            raise QueueError(f"more chains than the queue's {self._size} entries are out")
        slot = self._available + 4 + 2 * (self._next_available % self._size)
        (head,) = spec.INDEX.unpack(read(self._memory, slot, 2))
        chain = Chain(self._memory, head, self._walk(head))
        self._next_available = (self._next_available + 1) & 0xFFFF
        self._out += 1
        return chain

    def _waiting(self) -> int:
        (index,) = spec.INDEX.unpack(read(self._memory, self._available + 2, 2))
        return int(index) - self._next_available & 0xFFFF

    def _walk(self, head: int) -> Iterator[Buffer]:
        """The buffers of a chain in order; at most as many as the queue has entries. §2.7.5."""
        table, count, index, inside = self._table, self._size, head, False
        length = 0
        while length < self._size:
            if index >= count:
                raise QueueError(f"descriptor {index} of a table of {count}: §2.7.5")
            gpa, size_bytes, flags, following = spec.DESCRIPTOR.unpack(
                read(self._memory, table + 16 * index, 16)
            )
            if flags & spec.DESC_F_INDIRECT:
                self._check_table(inside, flags, gpa, size_bytes)
                table, count, index, inside = gpa, size_bytes // 16, 0, True
                continue
            yield Buffer(gpa, size_bytes, bool(flags & spec.DESC_F_WRITE))
            if not flags & spec.DESC_F_NEXT:
                return
            index, length = following, length + 1
        raise QueueError(f"a chain of more than {self._size} buffers, or a loop: §2.7.5.3.1")

    def _check_table(self, inside: bool, flags: int, gpa: int, size_bytes: int) -> None:
        if not self._indirect:
            raise QueueError("an indirect table without VIRTIO_F_INDIRECT_DESC: §2.7.5.3.1")
        if inside:
            raise QueueError("an indirect table within an indirect table: §2.7.5.3.1")
        if flags & spec.DESC_F_NEXT:
            raise QueueError("a descriptor with both INDIRECT and NEXT: §2.7.5.3.1")
        check_table(self._memory, gpa, size_bytes)

    # Giving back.

    def give(self, chain: Chain, written_bytes: int) -> None:
        """One entry of the used ring; `len` comes before `idx`. §2.7.8."""
        slot = self._used + 4 + 8 * (self._next_used % self._size)
        write(self._memory, slot, spec.USED_ELEMENT.pack(chain.head, written_bytes))
        self._next_used = (self._next_used + 1) & 0xFFFF
        self._out -= 1
        write(self._memory, self._used + 2, spec.INDEX.pack(self._next_used))

    # Notifications.

    def quiet(self) -> None:
        """The driver need not notify: the device looks by itself. §2.7.10.

        With the event index nothing is to be done: the one that was asked for is past.
        """
        if not self._quiet:
            self._quiet = True
            if not self._event_idx:
                write(self._memory, self._used, spec.INDEX.pack(spec.USED_F_NO_NOTIFY))

    def listen(self) -> None:
        """The driver shall notify of what it puts in from now on."""
        if not self._quiet:
            return
        self._quiet = False
        if self._event_idx:
            event = (self._next_available + self._waiting()) & 0xFFFF
            write(self._memory, self._used + 4 + 8 * self._size, spec.INDEX.pack(event))
        else:
            write(self._memory, self._used, spec.INDEX.pack(0))

    def wants_interrupt(self) -> bool:
        """Whether the driver wants to hear of what was given back since it last did. §2.7.7."""
        old, new = self._signalled, self._next_used
        self._signalled = new
        if old == new:
            return False
        if not self._event_idx:
            (flags,) = spec.INDEX.unpack(read(self._memory, self._available, 2))
            return not flags & spec.AVAIL_F_NO_INTERRUPT
        gpa = self._available + 4 + 2 * self._size
        (event,) = spec.INDEX.unpack(read(self._memory, gpa, 2))
        return int(new - event - 1) & 0xFFFF < (new - old) & 0xFFFF
