"""Drivers that break the rules, one rule at a time, against every device and both forms of ring.

The list is of what real machines got wrong. A device stops with DEVICE_NEEDS_RESET, has touched
nothing that it was not given, and works again after a reset.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from subjects import SUBJECTS, Subject
from support.watched import LAST, RAM_END, READABLE, TABLES, WRITABLE, WatchedMemory

from pykvm import layout
from pykvm.testing import Driver
from pykvm.testing.driver import PackedQueue, SplitQueue
from pykvm.virtio import spec
from pykvm.virtio.mmio import Reg
from pykvm.virtio.spec import Status

NEXT, WRITE, INDIRECT = spec.DESC_F_NEXT, spec.DESC_F_WRITE, spec.DESC_F_INDIRECT
SIZE = 16

pytestmark = pytest.mark.usefixtures("each_walk")


class Bench:
    """A device under a hostile driver."""

    def __init__(self, subject: Subject, queue: int, packed: bool) -> None:
        self.subject = subject
        self.memory = WatchedMemory()
        self.driver = Driver(subject.make(), self.memory)
        self.index = queue
        self.packed = packed
        self.start()

    def start(self, features: int = spec.F_INDIRECT_DESC) -> None:
        """Reset the device, and set it up honestly."""
        features |= self.driver.device.own_features
        self.driver.start(features | (spec.F_RING_PACKED if self.packed else 0), SIZE)

    @property
    def queue(self) -> SplitQueue | PackedQueue:
        return self.driver.queues[self.index]

    def chain(self, *buffers: tuple[int, int, int]) -> None:
        """Put in (gpa, size, flags) as one chain, whatever they are."""
        queue = self.queue
        if isinstance(queue, SplitQueue):
            for index, (gpa, size_bytes, flags) in enumerate(buffers):
                queue.describe(index, gpa, size_bytes, flags, (index + 1) % SIZE)
            queue.publish(0)
        else:
            for gpa, size_bytes, flags in buffers:
                queue.describe(gpa, size_bytes, 0, flags)

    def table(self, *buffers: tuple[int, int, int], at: int = TABLES.start) -> None:
        """Write an indirect table."""
        for index, (gpa, size_bytes, flags) in enumerate(buffers):
            if self.packed:
                entry = spec.PACKED_DESCRIPTOR.pack(gpa, size_bytes, 0, flags & ~NEXT)
            else:
                entry = spec.DESCRIPTOR.pack(gpa, size_bytes, flags, index + 1)
            self.memory.write(at + 16 * index, entry)

    def notify(self, queue: int | None = None) -> None:
        """Let the device have a look, and whatever it does afterwards."""
        with self.memory.watched():
            self.driver.write(Reg.QUEUE_NOTIFY, self.index if queue is None else queue)
            self.subject.poke(self.driver.device)
            self.driver.catch_up()

    @property
    def needs_reset(self) -> bool:
        return Status.DEVICE_NEEDS_RESET in self.driver.status

    def used(self) -> int:
        """How many chains came back, of at most one of a descriptor."""
        if isinstance(self.queue, SplitQueue):
            return self.memory.read_int(self.queue.used + 2, 2)
        flags = self.memory.read_int(self.queue.ring + 14, 2)
        return int(flags & 0x8080 == 0x8080)

    def refused(self) -> None:
        """The device takes no part in what is in its queue, and can be had back."""
        self.notify()
        assert self.used() == 0
        if self.index in self.subject.served:
            assert self.needs_reset
            assert "§" in self.driver.device.problem or "RAM" in self.driver.device.problem
        assert self.memory.is_intact()
        self.works_again()

    def works_again(self) -> None:
        """Reset, and do something honest."""
        self.start()
        assert not self.needs_reset
        self.accepted((WRITABLE.start, 64, WRITE))

    def accepted(self, *buffers: tuple[int, int, int]) -> None:
        """A chain that breaks no rule of queues comes back, whatever the device thinks of it."""
        self.chain(*buffers)
        self.notify()
        assert not self.needs_reset, self.driver.device.problem
        if self.index in self.subject.served:
            assert self.used() == 1


def cases(*forms: str) -> Iterator[object]:
    for name, subject in SUBJECTS.items():
        for queue in subject.tried:
            for form in forms:
                yield pytest.param((subject, queue, form), id=f"{name}-{queue}-{form}")


@pytest.fixture(params=cases("split", "packed"))
def bench(request: pytest.FixtureRequest) -> Bench:
    subject, queue, form = request.param
    return Bench(subject, queue, form == "packed")


@pytest.fixture(params=cases("split"))
def split(request: pytest.FixtureRequest) -> Bench:
    subject, queue, _ = request.param
    return Bench(subject, queue, packed=False)


@pytest.fixture(params=cases("packed"))
def packed(request: pytest.FixtureRequest) -> Bench:
    subject, queue, _ = request.param
    return Bench(subject, queue, packed=True)


# Indices.


@pytest.mark.parametrize("ahead", [SIZE + 1, 0x8000, 0xFFFF])
def test_available_index_more_than_a_queue_ahead(split: Bench, ahead: int) -> None:
    split.queue.describe(0, WRITABLE.start, 16, WRITE, 0)
    split.memory.write_int(split.queue.available + 2, ahead, 2)
    split.refused()


def test_available_index_goes_back(split: Bench) -> None:
    split.accepted((WRITABLE.start, 64, WRITE))
    before = split.used()
    split.memory.write_int(split.queue.available + 2, 0, 2)
    split.notify()
    assert split.used() == before
    assert split.needs_reset or split.index not in split.subject.served
    split.works_again()


@pytest.mark.parametrize("head", [SIZE, 0x7FFF, 0xFFFF])
def test_head_out_of_range(split: Bench, head: int) -> None:
    split.queue.publish(head)
    split.refused()


@pytest.mark.parametrize("following", [SIZE, 0xFFFF])
def test_next_out_of_range(split: Bench, following: int) -> None:
    split.queue.describe(0, WRITABLE.start, 16, WRITE | NEXT, following)
    split.queue.publish(0)
    split.refused()


def test_the_same_head_again_and_again(split: Bench) -> None:
    split.queue.describe(0, WRITABLE.start, 64, WRITE, 0)
    for _ in range(SIZE):
        split.queue.publish(0)
    split.notify()
    assert split.memory.is_intact()
    split.works_again()


def test_a_list_that_is_available_only_in_part(packed: Bench) -> None:
    packed.queue.describe(READABLE.start, 16, 0, NEXT)
    packed.refused()


def test_more_descriptors_than_a_packed_ring_has(packed: Bench) -> None:
    for _ in range(2 * SIZE + 1):
        packed.queue.describe(WRITABLE.start, 64, 0, WRITE)
    packed.notify()
    assert packed.memory.is_intact()
    packed.works_again()


def test_an_id_out_of_range_comes_back_as_it_was(packed: Bench) -> None:
    packed.queue.describe(WRITABLE.start, 64, 0xFFFF, WRITE)
    packed.notify()
    if packed.used():
        assert packed.memory.read_int(packed.queue.ring + 12, 2) == 0xFFFF
    assert packed.memory.is_intact()
    packed.works_again()


# Chains.


def test_a_chain_that_loops(split: Bench) -> None:
    split.queue.describe(0, READABLE.start, 16, NEXT, 1)
    split.queue.describe(1, READABLE.start, 16, NEXT, 0)
    split.queue.publish(0)
    split.refused()


def test_a_chain_that_is_its_own_next(split: Bench) -> None:
    split.queue.describe(0, READABLE.start, 16, NEXT, 0)
    split.queue.publish(0)
    split.refused()


def test_a_list_without_end(packed: Bench) -> None:
    for _ in range(SIZE):
        packed.queue.describe(READABLE.start, 16, 0, NEXT)
    packed.refused()


def test_a_chain_longer_than_the_queue(bench: Bench) -> None:
    many = [(READABLE.start, 1, NEXT)] * SIZE + [(READABLE.start, 1, 0)]
    bench.table(*many)
    bench.chain((TABLES.start, 16 * len(many), INDIRECT))
    bench.refused()


def test_a_chain_as_long_as_the_queue_may_be(bench: Bench) -> None:
    many = [(WRITABLE.start + 64 * each, 64, WRITE | NEXT) for each in range(SIZE)]
    many[-1] = (many[-1][0], 64, WRITE)
    bench.table(*many)
    bench.accepted((TABLES.start, 16 * SIZE, INDIRECT))


def test_a_chain_of_more_than_2_to_the_32_bytes(bench: Bench) -> None:
    """What is RAM is less than that: the same buffers come again and again."""
    large = 40 << 20
    bench.memory.add(1 << 32, large)
    count = (1 << 32) // large + 1
    bench.driver.start(spec.F_INDIRECT_DESC | (spec.F_RING_PACKED if bench.packed else 0))
    if count > bench.queue.size:
        pytest.skip("a chain of so many buffers is longer than the queue")
    flags = [WRITE | NEXT] * (count - 1) + [WRITE]
    bench.table(*((1 << 32, large, each) for each in flags))
    bench.chain((TABLES.start, 16 * count, INDIRECT))
    bench.refused()


def test_a_buffer_of_no_bytes(bench: Bench) -> None:
    bench.chain((READABLE.start, 0, 0))
    bench.refused()
    bench.start()
    bench.chain((READABLE.start, 16, NEXT), (WRITABLE.start, 0, WRITE))
    bench.refused()


def test_writable_before_readable(bench: Bench) -> None:
    bench.chain((WRITABLE.start, 16, WRITE | NEXT), (READABLE.start, 16, 0))
    bench.refused()


# Places.


@pytest.mark.parametrize(
    ("gpa", "size_bytes"),
    [
        (RAM_END - 16, 17),
        (RAM_END, 16),
        (RAM_END - 1, 0xFFFF_FFFF),
        ((1 << 64) - 8, 16),
        ((1 << 64) - 16, 16),
        (layout.RAM_HIGH_BASE, 16),
        (layout.VIRTIO_BASE, 16),  # its own registers
        (layout.VIRTIO_BASE + Reg.STATUS, 4),
        (layout.LAPIC_BASE, 16),
        (RAM_END - 16, 0x10_0000 + 32),  # across the hole, with RAM on both sides
    ],
)
@pytest.mark.parametrize("flags", [0, WRITE])
def test_a_buffer_that_is_not_all_ram(bench: Bench, gpa: int, size_bytes: int, flags: int) -> None:
    bench.chain((gpa, size_bytes, flags))
    bench.refused()
    bench.start()
    bench.table((gpa, size_bytes, flags))
    bench.chain((TABLES.start, 16, INDIRECT))
    bench.refused()


def test_a_buffer_may_end_where_ram_ends(bench: Bench) -> None:
    bench.accepted((LAST.stop - 64, 64, WRITE))
    bench.start()
    bench.accepted((LAST.stop - 1, 1, WRITE))


# Indirect tables.


@pytest.mark.parametrize("size_bytes", [0, 1, 15, 17, 0xFFFF_FFFF])
def test_a_table_of_a_wrong_length(bench: Bench, size_bytes: int) -> None:
    bench.table((WRITABLE.start, 16, WRITE))
    bench.chain((TABLES.start, size_bytes, INDIRECT))
    bench.refused()


@pytest.mark.parametrize("gpa", [RAM_END - 15, RAM_END, (1 << 64) - 16, layout.VIRTIO_BASE])
def test_a_table_that_is_not_all_ram(bench: Bench, gpa: int) -> None:
    bench.chain((gpa, 16, INDIRECT))
    bench.refused()


def test_a_table_in_a_table(split: Bench) -> None:
    split.table((TABLES.start + 0x100, 16, INDIRECT))
    split.table((WRITABLE.start, 16, WRITE), at=TABLES.start + 0x100)
    split.chain((TABLES.start, 16, INDIRECT))
    split.refused()
    split.start()
    split.table((TABLES.start, 16, INDIRECT))  # itself
    split.chain((TABLES.start, 16, INDIRECT))
    split.refused()


def test_a_next_out_of_its_table(split: Bench) -> None:
    split.table((READABLE.start, 16, NEXT))
    split.chain((TABLES.start, 16, INDIRECT))
    split.refused()


def test_a_table_with_next(bench: Bench) -> None:
    bench.table((WRITABLE.start, 16, WRITE))
    bench.chain((TABLES.start, 16, INDIRECT | NEXT), (WRITABLE.start, 16, WRITE))
    bench.refused()


def test_a_table_behind_a_buffer_of_a_packed_list(packed: Bench) -> None:
    packed.table((WRITABLE.start, 16, WRITE))
    packed.chain((READABLE.start, 16, NEXT), (TABLES.start, 16, INDIRECT))
    packed.refused()


def test_a_table_that_was_not_negotiated(bench: Bench) -> None:
    bench.start(0)
    bench.table((WRITABLE.start, 16, WRITE))
    bench.chain((TABLES.start, 16, INDIRECT))
    bench.refused()


# Queues and registers.


@pytest.mark.parametrize("queue", [100, 0xFFFF, 0x1_0000, 0xFFFF_FFFF])
def test_a_notification_of_no_queue(bench: Bench, queue: int) -> None:
    bench.notify(queue)
    assert not bench.needs_reset
    bench.accepted((WRITABLE.start, 64, WRITE))


def test_a_notification_before_the_driver_is_ready(bench: Bench) -> None:
    bench.driver.negotiate(0)
    bench.driver.set_up(bench.index, SIZE)
    bench.notify()
    assert not bench.needs_reset
    bench.works_again()


def test_a_notification_of_a_queue_that_is_not_set_up(bench: Bench) -> None:
    bench.driver.negotiate(0)
    bench.driver.write(Reg.STATUS, int(bench.driver.status | Status.DRIVER_OK))
    bench.notify()
    assert not bench.needs_reset
    bench.works_again()


def test_places_do_not_change_while_live(bench: Bench) -> None:
    for offset in (Reg.QUEUE_DESC, Reg.QUEUE_DRIVER, Reg.QUEUE_DEVICE):
        bench.driver.write(Reg.QUEUE_SEL, bench.index)
        bench.driver.write(offset, RAM_END - 64)
        bench.driver.write(offset + 4, 0xFFFF_FFFF)
        bench.driver.write(Reg.QUEUE_NUM, 1)
    bench.accepted((WRITABLE.start, 64, WRITE))
    assert bench.memory.is_intact()


@pytest.mark.parametrize("part", [Reg.QUEUE_DESC, Reg.QUEUE_DRIVER, Reg.QUEUE_DEVICE])
@pytest.mark.parametrize("gpa", [RAM_END - 2, RAM_END, (1 << 64) - 16, layout.VIRTIO_BASE, 0x1001])
def test_a_ring_in_a_place_that_cannot_be(bench: Bench, part: int, gpa: int) -> None:
    places = dict(
        zip((Reg.QUEUE_DESC, Reg.QUEUE_DRIVER, Reg.QUEUE_DEVICE), bench.queue.places, strict=True)
    )
    bench.driver.write(Reg.QUEUE_SEL, bench.index)
    bench.driver.write(Reg.QUEUE_READY, 0)
    for each, place in {**places, part: gpa}.items():
        bench.driver.write(each, place & 0xFFFF_FFFF)
        bench.driver.write(each + 4, place >> 32)
    bench.driver.write(Reg.QUEUE_NUM, SIZE)
    with bench.memory.watched():
        bench.driver.write(Reg.QUEUE_READY, 1)
    assert bench.needs_reset
    assert bench.driver.read(Reg.QUEUE_READY) == 0
    bench.works_again()


@pytest.mark.parametrize("size", [0, 0x8001, 0xFFFF, 0x1_0001, 0xFFFF_FFFF])
def test_a_size_that_cannot_be(bench: Bench, size: int) -> None:
    bench.driver.write(Reg.QUEUE_SEL, bench.index)
    bench.driver.write(Reg.QUEUE_READY, 0)
    bench.driver.write(Reg.QUEUE_NUM, size)
    bench.driver.write(Reg.QUEUE_READY, 1)
    assert bench.needs_reset
    bench.works_again()


def test_a_reset_with_requests_in_the_queue(bench: Bench) -> None:
    for queue in bench.driver.queues:
        if isinstance(queue, SplitQueue):
            for index in range(SIZE):
                queue.describe(index, WRITABLE.start + 64 * index, 64, WRITE, 0)
                queue.publish(index)
        else:
            for index in range(SIZE):
                queue.describe(WRITABLE.start + 64 * index, 64, index, WRITE)
    with bench.memory.watched():
        for index in range(len(bench.driver.queues)):
            bench.driver.write(Reg.QUEUE_NOTIFY, index)
    bench.driver.write(Reg.STATUS, 0)
    before = bench.memory.read(0, RAM_END)
    with bench.memory.watched():
        bench.driver.catch_up()
        bench.subject.poke(bench.driver.device)
    assert bench.memory.read(0, RAM_END) == before
    assert not bench.driver.line
    bench.works_again()


def test_a_device_that_writes_into_its_own_rings(bench: Bench) -> None:
    for part in bench.queue.places:
        bench.start()
        bench.chain((part, 64, WRITE))
        bench.notify()
        assert bench.memory.is_intact()
    bench.works_again()


def test_registers_of_every_width_and_place(bench: Bench) -> None:
    for offset in range(0, 0x1000, 4):
        for size_bytes in (1, 2, 4, 8):
            bench.driver.registers.read(offset + 1, size_bytes)
            bench.driver.registers.read(offset, size_bytes)
    for offset in range(0x100, 0x1000):
        for size_bytes in (1, 2, 4, 8):
            bench.driver.registers.write(offset, size_bytes, (1 << 8 * size_bytes) - 1)
    for offset in range(0, 0x100, 4):
        for value in (0, 1, 0x7FFF_FFFF, 0xFFFF_FFFF):
            bench.driver.write(offset, value)
    bench.works_again()


def test_a_split_ring_of_a_size_that_is_no_power_of_2(split: Bench) -> None:
    split.driver.write(Reg.QUEUE_SEL, split.index)
    split.driver.write(Reg.QUEUE_READY, 0)
    split.driver.write(Reg.QUEUE_NUM, 3)
    split.driver.write(Reg.QUEUE_READY, 1)
    assert split.needs_reset
    split.works_again()


# Memory.


def _many(bench: Bench, again: Callable[[], None], count: int) -> int:
    for _ in range(count):
        again()
    return tracemalloc.get_traced_memory()[0]


def test_memory_does_not_grow(bench: Bench) -> None:
    def again() -> None:
        bench.start(spec.F_INDIRECT_DESC | spec.F_RING_RESET)
        bench.chain((READABLE.start, 32, NEXT), (WRITABLE.start, 0x8000, WRITE))
        bench.notify()
        bench.chain((READABLE.start, 0, 0))
        bench.notify()
        if not bench.needs_reset:
            bench.driver.reset_queue(bench.index)

    tracemalloc.start()
    try:
        before = _many(bench, again, 20)
        assert _many(bench, again, 100) - before < 1 << 16
    finally:
        tracemalloc.stop()


def test_a_large_chain_needs_little_memory(bench: Bench) -> None:
    """As many bytes as one chain can have, all in the same 256 KiB."""
    bench.driver.start(spec.F_INDIRECT_DESC | (spec.F_RING_PACKED if bench.packed else 0))
    count = min(bench.queue.size, 512)
    flags = [WRITE | NEXT] * (count - 1) + [WRITE]
    bench.table(*((WRITABLE.start, len(WRITABLE), each) for each in flags))
    bench.chain((TABLES.start, 16 * count, INDIRECT))
    tracemalloc.start()
    try:
        bench.notify()
        assert tracemalloc.get_traced_memory()[1] < 48 << 20
    finally:
        tracemalloc.stop()
