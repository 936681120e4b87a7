"""The memory balloon: memory that a guest can do without goes back to the host. §5.5."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from pykvm import layout
from pykvm.errors import UsageError
from pykvm.memory import GuestMemory, parse_size
from pykvm.virtio import spec
from pykvm.virtio.chain import Chain
from pykvm.virtio.device import Device, Parts

QUEUE_SIZE = 128
PAGES_MAX = 4096  # looked at in one request; drivers send fewer
PART_BYTES = layout.LARGE_PAGE_SIZE  # given back at once
F_MUST_TELL_HOST, F_STATS_VQ, F_DEFLATE_ON_OOM, F_PAGE_REPORTING = 1, 2, 4, 1 << 5  # §5.5.3
CONFIG = struct.Struct("<II8x")  # num_pages, actual: §5.5.4
CONFIG_ACTUAL = range(4, 8)

STATISTIC = struct.Struct("<HQ")  # tag, value: §5.5.6.3
TAGS = (
    "swapped_in_bytes", "swapped_out_bytes", "major_faults", "minor_faults", "free_bytes",
    "total_bytes", "available_bytes", "cache_bytes", "huge_page_allocations", "huge_page_failures",
)  # fmt: skip
STATISTICS_MAX = 64


class Number:
    """Of the queues. §5.5.2."""

    INFLATE, DEFLATE, STATISTICS, HINTS, REPORTS = range(5)


class Balloon(Device):
    """A balloon in the guest's memory, which its owner blows up by setting `target`.

    Args:
        target: how much memory the guest is to give up, in bytes or as "64M".
        deflate_on_oom: the guest may take memory back by itself before it runs out.

    Attributes:
        actual_bytes: how much the driver says that it has given.
        statistics: what the driver last told of itself, by the names in TAGS.
    """

    device_id = spec.ID_BALLOON
    queue_sizes = (QUEUE_SIZE,) * 5
    own_features = F_MUST_TELL_HOST | F_STATS_VQ | F_PAGE_REPORTING
    asynchronous = True

    def __init__(self, target: int | str = 0, *, deflate_on_oom: bool = False) -> None:
        super().__init__()
        if deflate_on_oom:
            self.own_features |= F_DEFLATE_ON_OOM
        self._target_pages = _pages(target)
        self._actual = bytearray(4)
        self.statistics: Mapping[str, int] = {}
        self._asked_by: Chain | None = None

    def attach(self, memory: GuestMemory) -> None:
        """Note the memory."""
        super().attach(memory)
        self._memory = memory

    # For its owner.

    @property
    def target(self) -> int:
        """How much memory the guest is to give up, in bytes; any thread may set it.

        Raises:
            UsageError: not a size in whole pages.
            ClosedError: its machine is closed.
        """
        return self._target_pages * layout.PAGE_SIZE

    @target.setter
    def target(self, size: int | str) -> None:
        self.check_open()
        self._target_pages = _pages(size)
        self.post(self._tell)

    def _tell(self) -> None:
        if self.live:
            self.interrupt(False)

    @property
    def actual_bytes(self) -> int:
        """What the driver wrote to `actual`."""
        return int.from_bytes(self._actual, "little") * layout.PAGE_SIZE

    def ask(self) -> None:
        """Ask the driver for new statistics, which arrive in `statistics`. §5.5.6.3."""
        self.check_open()
        self.post(lambda: self.attempt(self._ask))

    def _ask(self) -> None:
        if self._asked_by is not None:
            chain, self._asked_by = self._asked_by, None
            queue = self.queues[Number.STATISTICS]
            queue.push(chain)
            self.signal(queue)

    # The driver's side.

    def config(self) -> bytes:
        """§5.5.4."""
        return CONFIG.pack(self._target_pages, int.from_bytes(self._actual, "little"))

    def write_config(self, offset: int, data: bytes) -> None:
        """Only `actual` can be written."""
        for place, byte in enumerate(data, offset):
            if place in CONFIG_ACTUAL:
                self._actual[place - CONFIG_ACTUAL.start] = byte

    def was_reset(self) -> None:
        """All memory is the guest's again."""
        self._actual = bytearray(4)
        self._asked_by = None

    def queue_was_reset(self, index: int) -> None:
        """Forget the buffer by which statistics are asked for."""
        if index == Number.STATISTICS:
            self._asked_by = None

    def notified(self, index: int) -> None:
        """Pages, or statistics."""
        queue = self.queues[index]
        match index:
            case Number.INFLATE:
                self.serve(queue, queue, self._inflate)
            case Number.STATISTICS:
                for chain in queue:
                    self._take_statistics(chain)
                self.signal(queue)
            case Number.HINTS | Number.REPORTS:  # the former where no hints are negotiated
                self.serve(queue, queue, self._take_reported)
            case _:
                self.serve(queue, queue, lambda chain: 0)

    def _inflate(self, chain: Chain) -> Parts:
        """Give pages back to the host; numbers that are no RAM do nothing. §5.5.6."""
        data = chain.read(0, 4 * PAGES_MAX)
        numbers = [number for (number,) in struct.iter_unpack("<I", data[: len(data) & ~3])]
        for first, count in _runs(numbers):
            yield from self._discard(first * layout.PAGE_SIZE, count * layout.PAGE_SIZE)
        return 0

    def _discard(self, gpa: int, size_bytes: int) -> Iterator[None]:
        """Give memory back in parts, none of which cuts a large page in two."""
        end = gpa + size_bytes
        while gpa < end:
            stop = min(end, (gpa // PART_BYTES + 1) * PART_BYTES)
            self._discard_part(gpa, stop)
            self.turn.spend(stop - gpa)
            gpa = stop
            yield

    def _discard_part(self, gpa: int, stop: int) -> None:
        for region in self._memory.regions:
            start, end = max(gpa, region.gpa), min(stop, region.end)
            if start < end and not region.readonly:
                region.discard(start - region.gpa, end - region.gpa)

    def _take_reported(self, chain: Chain) -> Parts:
        """The buffers themselves are memory that is free. §5.5.6.7."""
        for gpa, size_bytes in chain.writable:
            yield from self._discard(gpa, size_bytes)
        return 0

    def _take_statistics(self, chain: Chain) -> None:
        """Keep the buffer: giving it back asks for the next ones."""
        data = chain.read(0, STATISTICS_MAX * STATISTIC.size)
        data = data[: len(data) // STATISTIC.size * STATISTIC.size]
        self.statistics = {
            TAGS[tag]: value for tag, value in STATISTIC.iter_unpack(data) if tag < len(TAGS)
        }
        if self._asked_by is not None:  # the driver has more than one out
            self.queues[Number.STATISTICS].push(self._asked_by)
        self._asked_by = chain


def _pages(size: int | str) -> int:
    size_bytes = parse_size(size)
    if size_bytes % layout.PAGE_SIZE or not 0 <= size_bytes <= layout.MAX_RAM_SIZE:
        raise UsageError(f"a balloon's target is whole pages of 4 KiB, not {size}")
    return size_bytes // layout.PAGE_SIZE


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Numbers in order, put together to (first, count) where they follow on each other."""
    first = count = 0
    for number in sorted(set(numbers)):
        if count and number == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = number, 1
    if count:
        yield first, count
