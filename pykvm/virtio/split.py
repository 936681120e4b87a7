"""The split virtqueue's form in memory: descriptor table, available ring, used ring. §2.7."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pykvm.memory import GuestMemory
from pykvm.virtio import spec
from pykvm.virtio.chain import Chain, Part, QueueError, Used, check_table, read
from pykvm.virtio.ring import Ring
from pykvm.virtio.walk import Walk

# Fields of either ring, in halves. §2.7.6, §2.7.8.
_FLAGS, _INDEX, _HEAD, _ELEMENTS = 0, 1, 2, 2
_NEAR = 256  # elements are told of together with the index: one call instead of two


class SplitRing(Ring):
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
        self._memory, self._size = memory, size
        self._table = Part(memory, "descriptor table", places[0], 16, 16 * size)
        self._avail = Part(memory, "available ring", places[1], 2, 6 + 2 * size)
        self._used = Part(memory, "used ring", places[2], 4, 6 + 8 * size, written=True)
        self._heads = self._avail.halves[_HEAD:]
        self._elements = self._used.view[4 : 4 + 8 * size].cast("I")
        self._event_idx = bool(features & spec.F_EVENT_IDX)
        self._indirect = bool(features & spec.F_INDIRECT_DESC)
        self._next_available = self._next_used = self._signalled = 0
        self._quiet = True
        self._out = 0
        if Walk.wanted:
            heads = self._avail.view[2 * _HEAD :]
            self._in_c = Walk(memory, size, self._table.view, heads, self._indirect)
        self.listen()

    # Taking.

    def _available(self, limit: int) -> int:
        """§2.7.13."""
        waiting: int = self._avail.halves[_INDEX] - self._next_available & 0xFFFF
        if waiting == 0:
            return 0
        if waiting > self._size:
            raise QueueError(f"{waiting} chains in a ring of {self._size}: §2.7.13.3.1")
        room = self._size - self._out
        if room <= 0:
            raise QueueError(f"more chains than the queue's {self._size} entries are out")
        return min(limit, waiting, room)

    def _walk_in_c(self, walk: Walk, limit: int) -> int:
        return walk.split(self._next_available, limit)

    def _take_one(self) -> Chain:
        head = self._heads[self._next_available % self._size]
        return Chain.of(self._memory, self, head, self._walk(head))

    def _took(self, slots: Sequence[int]) -> None:
        self._next_available = (self._next_available + len(slots)) & 0xFFFF
        self._out += len(slots)

    def _walk(self, head: int) -> Iterator[tuple[int, int, bool]]:
        """The buffers of a chain in order; at most as many as the queue has entries. §2.7.5."""
        view, count, index = self._table.view, self._size, head
        unpack = spec.DESCRIPTOR.unpack_from
        length, inside = 0, False
        while length < self._size:
            if index >= count:
                raise QueueError(f"descriptor {index} of a table of {count}: §2.7.5")
            gpa, size_bytes, flags, following = unpack(view, 16 * index)
            if flags & spec.DESC_F_INDIRECT:
                self._check_table(inside, flags, gpa, size_bytes)
                count = size_bytes // 16
                view = memoryview(read(self._memory, gpa, size_bytes))
                index, inside = 0, True
                continue
            yield gpa, size_bytes, flags & spec.DESC_F_WRITE != 0
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
        check_table(self._memory, gpa, size_bytes, self._size)

    # Giving back.

    def give(self, given: Sequence[Used]) -> None:
        """Entries of the used ring, seen by the driver at once: `idx` comes last. §2.7.8."""
        first = slot = self._next_used % self._size
        for head, _, written_bytes in given:
            self._elements[2 * slot] = head
            self._elements[2 * slot + 1] = written_bytes
            slot = (slot + 1) % self._size
        self._next_used = (self._next_used + len(given)) & 0xFFFF
        self._out -= len(given)
        self._used.halves[_INDEX] = self._next_used
        if first < slot <= _NEAR:
            self._used.changed(2, 8 * slot + 2)
        elif first < slot:
            self._used.changed(2, 2)
            self._used.changed(8 * first + 4, 8 * (slot - first))
        else:
            self._used.changed(2, 8 * self._size + 2)

    def _tell(self, half: int, value: int) -> None:
        """Store to a field of the used ring."""
        self._used.halves[half] = value
        self._used.changed(2 * half, 2)

    # Notifications.

    def quiet(self) -> None:
        """The driver need not notify: the device looks by itself. §2.7.10.

        With the event index nothing is to be done: the one that was asked for is past.
        """
        if not self._quiet:
            self._quiet = True
            if not self._event_idx:
                self._tell(_FLAGS, spec.USED_F_NO_NOTIFY)

    def listen(self) -> None:
        """The driver shall notify of what it puts in from now on."""
        if not self._quiet:
            return
        self._quiet = False
        if self._event_idx:
            self._tell(_ELEMENTS + 4 * self._size, self._avail.halves[_INDEX])
        else:
            self._tell(_FLAGS, 0)

    def wants_interrupt(self) -> bool:
        """Whether the driver wants to hear of what was given back since it last did. §2.7.7."""
        old, new = self._signalled, self._next_used
        self._signalled = new
        if old == new:
            return False
        if not self._event_idx:
            return not self._avail.halves[_FLAGS] & spec.AVAIL_F_NO_INTERRUPT
        event = self._avail.halves[_HEAD + self._size]
        return (new - event - 1) & 0xFFFF < (new - old) & 0xFFFF
