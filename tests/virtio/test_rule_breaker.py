"""A driver that breaks the rules at random, against every device.

Whatever it does, nothing but QueueError's consequence is seen: no exception, no byte touched
that was not given, no loop without end; and after a reset an honest driver is served.

`--full` runs 10,000 sequences for each device; otherwise it is a slice of that.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from subjects import SUBJECTS, Subject
from watched import LAST, QUEUES, RAM_END, READABLE, TABLES, WRITABLE, WatchedMemory

from pykvm import layout
from pykvm.errors import UsageError
from pykvm.testing import Driver
from pykvm.testing.driver import PackedQueue, SplitQueue
from pykvm.virtio import spec
from pykvm.virtio.mmio import Reg
from pykvm.virtio.spec import Status

FULL, SLICE = 10_000, 100
STEPS = 25
NEXT, WRITE, INDIRECT = spec.DESC_F_NEXT, spec.DESC_F_WRITE, spec.DESC_F_INDIRECT

numbers = st.integers(0, 0xFFFF_FFFF)
small = st.integers(0, 20)
words = st.one_of(small, st.integers(0, 0xFFFF))
sizes = st.one_of(
    st.integers(0, 64),
    st.sampled_from([512, 4096, 0x1_0000, 0x2_0000]),
    st.integers(0, 0xFFFF_FFFF),
)
nowhere = st.sampled_from(
    [RAM_END - 3, RAM_END, RAM_END + 0x8000, (1 << 64) - 16, (1 << 64) - 1, 1 << 63,
     layout.VIRTIO_BASE, layout.VIRTIO_BASE + Reg.QUEUE_NOTIFY, layout.RAM_HIGH_BASE]
)  # fmt: skip


def within(zone: range) -> st.SearchStrategy[tuple[int, int]]:
    """(gpa, size) of something in it."""
    half = len(zone) // 2
    return st.tuples(st.integers(zone.start, zone.start + half), st.integers(1, half))


# (gpa, size, flags): of what a device may do with the place, so that nothing honest trespasses.
buffers = st.one_of(
    within(READABLE).map(lambda place: (*place, 0)),
    st.tuples(st.integers(READABLE.start, READABLE.start + 0x1000), st.integers(1, 64), st.just(0)),
    within(WRITABLE).map(lambda place: (*place, WRITE)),
    st.integers(1, len(LAST)).map(lambda size: (LAST.stop - size, size, WRITE)),
    st.tuples(nowhere, sizes.map(lambda size: max(4, size)), st.sampled_from([0, WRITE])),
    st.just((READABLE.start, 0, 0)),
)
tables = st.tuples(
    st.one_of(st.integers(TABLES.start, TABLES.start + 0x800), nowhere),
    st.one_of(st.integers(1, 40).map(lambda count: 16 * count), sizes),
    st.sampled_from([INDIRECT, INDIRECT | WRITE, INDIRECT | NEXT]),
)
# What devices look for at the start of a request: small numbers, little-endian.
headers = st.lists(st.one_of(small, numbers), min_size=1, max_size=8).map(
    lambda values: b"".join(value.to_bytes(4, "little") for value in values)
)


class RuleBreaker(RuleBasedStateMachine):
    """One sequence."""

    subject: Subject

    def __init__(self) -> None:
        super().__init__()
        self.memory = WatchedMemory(content=False)
        self.driver = Driver(self.subject.make(), self.memory)
        self.count = len(self.driver.device.queues)

    @initialize(
        features=st.lists(st.integers(0, 63)),
        plain=st.booleans(),
        size=st.sampled_from([1, 4, 16, 64]),
    )
    def begin(self, features: list[int], plain: bool, size: int) -> None:
        """Negotiate; all that is offered, or some of it."""
        self.driver.negotiate()
        chosen = self.driver.features
        if not plain:
            chosen = sum(1 << bit for bit in set(features)) & self.driver.features
        with self.memory.watched():
            try:
                self.driver.start(chosen, size)
            except UsageError:  # a feature without one that it needs
                self.driver.start(0, size)

    def queue(self, number: int) -> SplitQueue | PackedQueue:
        return self.driver.queues[number % self.count]

    def step(self, offset: int, value: int) -> None:
        with self.memory.watched():
            self.driver.write(offset, value)

    # What an honest driver does too.

    @rule(
        number=small,
        chain=st.lists(buffers, min_size=1, max_size=6),
        place=small,
        honest=st.booleans(),
    )
    def put_in(
        self, number: int, chain: list[tuple[int, int, int]], place: int, honest: bool
    ) -> None:
        """A chain, in the right order or not; after a reset where one is needed."""
        if Status.DEVICE_NEEDS_RESET in self.driver.status:
            self.start_again(bool(place & 1), 16)
        if honest:
            chain = sorted(chain, key=lambda each: each[2])
        queue = self.queue(number)
        flags = [NEXT] * (len(chain) - 1) + [0]
        for offset, ((gpa, size_bytes, flag), more) in enumerate(zip(chain, flags, strict=True)):
            if isinstance(queue, SplitQueue):
                index = (place + offset) % queue.size
                queue.describe(index, gpa, size_bytes, flag | more, (index + 1) % queue.size)
            else:
                queue.describe(gpa, size_bytes, place, flag | more)
        if isinstance(queue, SplitQueue):
            queue.publish(place % queue.size)

    @rule(number=small)
    def notify(self, number: int) -> None:
        """The one thing that sets a device to work."""
        self.step(Reg.QUEUE_NOTIFY, number % self.count)

    @rule()
    def poke(self) -> None:
        """The host has something."""
        with self.memory.watched():
            self.subject.poke(self.driver.device)

    @rule()
    def catch_up(self) -> None:
        """What was put off."""
        with self.memory.watched():
            self.driver.catch_up(8)

    @rule(data=headers, offset=st.sampled_from([0, 0, 0, 16, 0x100]))
    def write_header(self, data: bytes, offset: int) -> None:
        """Something that a device could take for a request."""
        self.memory.write(READABLE.start + offset, data)

    @rule(number=small)
    def reset_queue(self, number: int) -> None:
        """One queue."""
        if self.driver.features & spec.F_RING_RESET and Status.FEATURES_OK in self.driver.status:
            with self.memory.watched():
                self.driver.write(Reg.QUEUE_SEL, number % self.count)
                self.driver.write(Reg.QUEUE_RESET, 1)
            if self.driver.read(Reg.QUEUE_READY) == 0:
                self.driver.queues[number % self.count] = self.driver.set_up(
                    number % self.count, 16
                )

    @rule(features=st.booleans(), size=st.sampled_from([1, 4, 16, 256]))
    def start_again(self, features: bool, size: int) -> None:
        """In the middle of whatever was going on."""
        with self.memory.watched():
            self.driver.start(None if features else spec.F_EVENT_IDX, size)

    @rule(number=small, on=st.booleans())
    def suppress(self, number: int, on: bool) -> None:
        """Interrupts."""
        self.queue(number).suppress(on)

    # What it must not do.

    @rule(number=small, index=small, buffer=st.one_of(buffers, tables), following=words)
    def scribble(
        self, number: int, index: int, buffer: tuple[int, int, int], following: int
    ) -> None:
        """A descriptor anywhere."""
        queue = self.queue(number)
        if isinstance(queue, SplitQueue):
            queue.describe(index % queue.size, *buffer, following)
        else:
            marks = (following & 3) * spec.PACKED_F_AVAIL | (following & 4) << 13
            gpa, size_bytes, flags = buffer
            entry = spec.PACKED_DESCRIPTOR.pack(gpa, size_bytes, following, flags | marks & 0x8080)
            self.memory.write(queue.ring + 16 * (index % queue.size), entry)

    @rule(number=small, buffer=tables)
    def put_in_a_table(self, number: int, buffer: tuple[int, int, int]) -> None:
        """An indirect table, whatever is in it."""
        queue = self.queue(number)
        if isinstance(queue, SplitQueue):
            queue.describe(0, *buffer, 1)
            queue.publish(0)
        else:
            queue.describe(buffer[0], buffer[1], 0, buffer[2])

    @rule(
        entries=st.lists(st.tuples(st.one_of(buffers, tables), small), min_size=1, max_size=20),
        chained=st.booleans(),
    )
    def write_table(self, entries: list[tuple[tuple[int, int, int], int]], chained: bool) -> None:
        """For those who refer to it."""
        packed = bool(self.driver.features & spec.F_RING_PACKED)
        for index, ((gpa, size_bytes, flags), following) in enumerate(entries):
            if packed:  # of the flags only WRITE counts there: a table is a buffer to read
                flags &= 0 if flags & INDIRECT else WRITE
                entry = spec.PACKED_DESCRIPTOR.pack(gpa, size_bytes, following, flags)
            else:
                flags |= NEXT if chained and index + 1 < len(entries) else 0
                entry = spec.DESCRIPTOR.pack(
                    gpa, size_bytes, flags, index + 1 if chained else following
                )
            self.memory.write(TABLES.start + 16 * index, entry)

    @rule(number=small, value=words, part=st.integers(0, 2), offset=st.sampled_from([0, 2, 4, 6]))
    def scribble_ring(self, number: int, value: int, part: int, offset: int) -> None:
        """Indices, flags, events, heads, IDs: what else there is at the start of a part."""
        queue = self.queue(number)
        if part == 0:  # descriptors: `scribble` writes what their places and sizes may be
            if isinstance(queue, SplitQueue):
                return
            offset = 12 + (offset & 2)
        self.memory.write_int(queue.places[part] + offset, value, 2)

    @rule(
        offset=st.one_of(st.integers(0, 0x3F).map(lambda each: each * 4), st.integers(0, 0x1FF)),
        size_bytes=st.sampled_from([1, 2, 4, 4, 4, 8]),
        value=st.one_of(numbers, small),
    )
    def write_register(self, offset: int, size_bytes: int, value: int) -> None:
        """Any register; rings only where they cannot be, or where the queues are."""
        if 0x80 <= offset < 0xB0:
            value = QUEUES.start + value % 0x4000 if not offset & 4 else value & 1
        with self.memory.watched():
            masked = value & ((1 << 8 * size_bytes) - 1)
            self.driver.registers.write(offset, size_bytes, masked)

    @rule(offset=st.integers(0, 0x1FF), size_bytes=st.sampled_from([1, 2, 4, 8]))
    def read_register(self, offset: int, size_bytes: int) -> None:
        """And the configuration space."""
        value = self.driver.registers.read(offset, size_bytes)
        assert 0 <= value < 1 << 8 * size_bytes

    @rule(number=st.one_of(small, numbers))
    def notify_anything(self, number: int) -> None:
        """Queues that there are not."""
        self.step(Reg.QUEUE_NOTIFY, number)

    # What holds whatever it does.

    @invariant()
    def little_is_put_off(self) -> None:
        assert len(self.driver.later) <= self.count + 2

    def teardown(self) -> None:
        """All is as it was where no device may write, and an honest driver is served."""
        assert self.memory.is_intact()
        with self.memory.watched():
            self.driver.start(0, 16)
        assert self.driver.status == Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK | (
            Status.DRIVER_OK
        )
        for number in self.subject.served:
            queue = self.queue(number)
            queue.describe(0, WRITABLE.start, 512, WRITE, 0)
            queue.publish(0)
            self.notify(number)
            self.catch_up()
            assert Status.DEVICE_NEEDS_RESET not in self.driver.status
            assert self.memory.read_int(queue.used + 2, 2) == 1
        self.memory.close()


@pytest.mark.timeout(7200)  # in full it takes its time
@pytest.mark.parametrize("name", SUBJECTS)
def test_a_driver_that_breaks_the_rules(name: str, full: bool) -> None:
    machine = type(f"RuleBreaker_{name}", (RuleBreaker,), {"subject": SUBJECTS[name]})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=FULL if full else SLICE,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        ),
    )
