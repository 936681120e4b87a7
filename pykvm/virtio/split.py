"""The split virtqueue's form in memory: descriptor table, available ring, used ring. §2.7."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pykvm.memory import GuestMemory
from pykvm.virtio import spec
from pykvm.virtio.chain import Chain, Part, QueueError, Used, check_table, read
from pykvm.virtio.ring import Ring

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
        self._table = Part(memory, "descriptor table", places[0], 16, 16 * size)
        self._avail = Part(memory, "available ring", places[1], 2, 6 + 2 * size)
        self._used = Part(memory, "used ring", places[2], 4, 6 + 8 * size, written=True)
        self._heads = self._avail.halves[_HEAD:]
        self._elements = self._used.view[4 : 4 + 8 * size].cast("I")
        super().__init__(memory, size, (self._table, self._avail, self._used), features)

    # Taking.

    def _is_empty(self) -> bool:
        """§2.7.13."""
        waiting = self._avail.halves[_INDEX] - self._at.available & 0xFFFF
        if waiting == 0:
            return True
        if waiting > self._size:
            raise QueueError(f"{waiting} chains in a ring of {self._size}: §2.7.13.3.1")
        if self._at.out >= self._size:
            raise QueueError(f"more chains than the queue's {self._size} entries are out")
        return False

    def _take_one(self) -> Chain:
        head = self._heads[self._at.available % self._size]
        chain = Chain.of(self._memory, self, head, self._walk(head))
        self._at.available = (self._at.available + 1) & 0xFFFF
        self._at.out += 1
        return chain

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

    def _give(self, given: Sequence[Used]) -> None:
        """Entries of the used ring, seen by the driver at once: `idx` comes last. §2.7.8."""
        first = slot = self._at.used % self._size
        for head, _, written_bytes in given:
            self._elements[2 * slot] = head
            self._elements[2 * slot + 1] = written_bytes
            slot = (slot + 1) % self._size
        self._at.used = (self._at.used + len(given)) & 0xFFFF
        self._at.out -= len(given)
        self._at.unsignalled += len(given)
        self._used.halves[_INDEX] = self._at.used
        if first < slot <= _NEAR:
            self._used.changed(2, 8 * slot + 2)
        elif first < slot:
            self._used.changed(2, 2)
            self._used.changed(8 * first + 4, 8 * (slot - first))
        else:
            self._used.changed(2, 8 * self._size + 2)

    # Notifications.

    def _suppress(self, quiet: bool) -> None:
        """§2.7.10; with the event index for what comes after that which is there now."""
        if self._event_idx:
            half, value = _ELEMENTS + 4 * self._size, self._avail.halves[_INDEX]
        else:
            half, value = _FLAGS, spec.USED_F_NO_NOTIFY if quiet else 0
        self._used.halves[half] = value
        self._used.changed(2 * half, 2)

    def _wants_interrupt(self, given: int) -> bool:
        """§2.7.7, §2.7.10."""
        if not self._event_idx:
            return not self._avail.halves[_FLAGS] & spec.AVAIL_F_NO_INTERRUPT
        used: int = self._at.used
        event = self._avail.halves[_HEAD + self._size]
        return (used - event - 1) & 0xFFFF < given
