"""The packed virtqueue's form in memory: one ring that both sides write. §2.8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pykvm.memory import GuestMemory
from pykvm.virtio import spec
from pykvm.virtio.chain import Chain, Part, QueueError, Used, check_table, read
from pykvm.virtio.ring import Ring

_LENGTH, _ID, _FLAGS = 4, 6, 7  # in a descriptor's eight halves
_BOTH = spec.PACKED_F_AVAIL | spec.PACKED_F_USED


class PackedRing(Ring):
    """The device's side of one that the driver has set up; the same calls as SplitRing.

    Raises:
        QueueError: alignment or place is not allowed; later, whatever else the driver does
            wrong.
    """

    def __init__(
        self,
        memory: GuestMemory,
        size: int,
        places: tuple[int, int, int],
        features: int,
    ) -> None:
        self._ring = Part(memory, "descriptor ring", places[0], 16, 16 * size, written=True)
        self._driver = Part(memory, "driver event suppression", places[1], 4, 4)
        self._device = Part(memory, "device event suppression", places[2], 4, 4, written=True)
        super().__init__(memory, size, (self._ring, self._driver, self._device), features)

    # Taking.

    def _is_empty(self) -> bool:
        """§2.8.21."""
        return not self._is_available(self._flags(self._at.available), self._at.available_wrap)

    def _take_one(self) -> Chain:
        at = self._at
        listed = list(self._chained(self._descriptor(at.available)))
        slots = len(listed)
        if at.out + slots > self._size:
            raise QueueError(f"more descriptors than the queue's {self._size} are out")
        gpa, size_bytes, id_, flags = listed[-1]
        if flags & spec.DESC_F_INDIRECT:
            buffers = self._table(gpa, size_bytes)
        else:
            buffers = ((each[0], each[1], each[3] & spec.DESC_F_WRITE != 0) for each in listed)
        chain = Chain.of(self._memory, self, id_, buffers, slots)
        at.available, at.available_wrap = self._after(at.available, at.available_wrap, slots)
        at.out += slots
        return chain

    def _descriptor(self, index: int) -> tuple[int, int, int, int]:
        """Address, length, ID and flags. The flags are looked at first: they make the rest valid.

        One copy could catch flags that are new and a length that is not.
        """
        flags = self._flags(index)
        address, length, id_, _ = spec.PACKED_DESCRIPTOR.unpack_from(self._ring.view, 16 * index)
        return address, length, id_, flags

    def _flags(self, index: int) -> int:
        return self._ring.halves[8 * index + _FLAGS]

    @staticmethod
    def _is_available(flags: int, wrap: bool) -> bool:
        """§2.8.1."""
        expected = spec.PACKED_F_AVAIL if wrap else spec.PACKED_F_USED
        return flags & _BOTH == expected

    def _after(self, index: int, wrap: bool, slots: int) -> tuple[int, bool]:
        index += slots
        return (index - self._size, not wrap) if index >= self._size else (index, wrap)

    def _chained(self, first: tuple[int, int, int, int]) -> Iterator[tuple[int, int, int, int]]:
        """The descriptors of a list, which follow each other in the ring. §2.8.6."""
        index, wrap, each = self._at.available, self._at.available_wrap, first
        for length in range(1, self._size + 1):
            if each[3] & spec.DESC_F_INDIRECT and (length > 1 or each[3] & spec.DESC_F_NEXT):
                raise QueueError("an indirect table in a list of descriptors: §2.8.19")
            yield each
            if not each[3] & spec.DESC_F_NEXT:
                return
            index, wrap = self._after(index, wrap, 1)
            each = self._descriptor(index)
            if not self._is_available(each[3], wrap):
                raise QueueError("a list of descriptors that are not all available: §2.8.17")
        raise QueueError(f"a list of more than {self._size} descriptors: §2.8.17")

    def _table(self, gpa: int, size_bytes: int) -> Iterator[tuple[int, int, bool]]:
        """An indirect table's buffers: of the flags there only WRITE counts. §2.8.7."""
        if not self._indirect:
            raise QueueError("an indirect table without VIRTIO_F_INDIRECT_DESC: §2.8.19")
        check_table(self._memory, gpa, size_bytes, self._size)
        table = read(self._memory, gpa, size_bytes)
        for address, length, _, flags in spec.PACKED_DESCRIPTOR.iter_unpack(table):
            yield address, length, flags & spec.DESC_F_WRITE != 0

    # Giving back.

    def _give(self, given: Sequence[Used]) -> None:
        """One used descriptor for each chain; the flags come last. §2.8.1, §2.8.6.

        The driver sees all at once: the first one's flags wait for the others, and it looks no
        further than those.
        """
        halves, at = self._ring.halves, self._at
        first: tuple[int, int] | None = None
        for id_, slots, written_bytes in given:
            flags = _BOTH if at.used_wrap else 0
            if written_bytes:
                flags |= spec.DESC_F_WRITE
            start = 8 * at.used
            halves[start + _LENGTH] = written_bytes & 0xFFFF
            halves[start + _LENGTH + 1] = written_bytes >> 16
            halves[start + _ID] = id_
            if first is None:
                first = start, flags
            else:
                halves[start + _FLAGS] = flags
                self._ring.changed(2 * start + 8, 8)
            at.used, at.used_wrap = self._after(at.used, at.used_wrap, slots)
            at.out -= slots
            at.unsignalled += slots
        if first is not None:
            start, flags = first
            halves[start + _FLAGS] = flags
            self._ring.changed(2 * start + 8, 8)

    # Notifications. §2.8.10.

    def _suppress(self, quiet: bool) -> None:
        """With the event index for the next one, where that is not there already."""
        place, flags = 0, spec.EVENT_DISABLE if quiet else spec.EVENT_ENABLE
        if self._event_idx and self._is_empty():
            place = self._at.available | self._at.available_wrap << 15
            flags = spec.EVENT_DESC
        self._device.halves[0], self._device.halves[1] = place, flags
        self._device.changed(0, 4)

    def _wants_interrupt(self, given: int) -> bool:
        """Whether the event's place is among the last ones, where there is one."""
        place, flags = self._driver.halves
        if flags & 3 != spec.EVENT_DESC or not self._event_idx:
            return flags & 3 != spec.EVENT_DISABLE
        index, wrap = place & 0x7FFF, bool(place >> 15)
        back: int = self._at.used - index + (0 if wrap == self._at.used_wrap else self._size)
        return 0 < back <= given
