"""A driver that breaks the rules at random, against every device.

Whatever it does, nothing but QueueError's consequence is seen: no exception, no byte touched
that was not given, no loop without end, no memory that grows; and after a reset an honest driver
is served.
"""

from __future__ import annotations

from dataclasses import replace

import programs
import pytest
import subjects
from buffers import NOWHERE, Described, buffer, table
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from subjects import Subject
from support import campaign
from support.tape import Tape, tapes
from support.watched import QUEUES, READABLE, TABLES, WRITABLE, WatchedMemory

from pykvm.errors import UsageError
from pykvm.testing import Driver
from pykvm.testing.driver import PackedQueue, SplitQueue
from pykvm.virtio import spec
from pykvm.virtio.mmio import Reg
from pykvm.virtio.net import Net
from pykvm.virtio.spec import Status
from pykvm.virtio.walk import Walk

SUBJECTS = subjects.SUBJECTS | {
    "net": replace(subjects.SUBJECTS["net"], make=lambda: Net(pairs=2)),
    "vsock": replace(subjects.SUBJECTS["vsock"], make=programs.SpokenTo, poke=programs.speak),
}
STEPS = 16
SLOTS = 4  # requests at once
TABLES_BYTES = 0x2000 + 0x800 * SLOTS  # written of them
ELSEWHERE = range(QUEUES.stop - 0x8000, QUEUES.stop)  # where parts of queues move to, each its own
NEXT, WRITE, INDIRECT = spec.DESC_F_NEXT, spec.DESC_F_WRITE, spec.DESC_F_INDIRECT
REGISTERS = sorted(value for value in vars(Reg).values() if isinstance(value, int))
PLACES = (Reg.QUEUE_DESC, Reg.QUEUE_DRIVER, Reg.QUEUE_DEVICE)


class RuleBreaker(RuleBasedStateMachine):
    """One sequence."""

    subject: Subject

    def __init__(self) -> None:
        super().__init__()
        campaign.begin_sequence()
        self.memory = WatchedMemory(content=False)
        self.driver = Driver(self.subject.make(), self.memory)
        self.device = self.driver.device
        self.count = len(self.device.queues)
        self.place = 0  # in the table, of the next chain

    @initialize(tape=tapes)
    def begin(self, tape: Tape) -> None:
        self.start(tape)

    def start(self, tape: Tape) -> None:
        """Negotiate nothing, all that is offered, or some of it; walk rings in C, or not."""
        offered, some = self.device.offered, tape.number(8)
        less = offered & ~(some & some >> 20)
        features = tape.one_of(0, offered, offered & some, less, less & ~spec.F_RING_PACKED)
        size = tape.one_of(16, 1, 4, 64, 256)
        Walk.wanted = tape.below(3) != 2
        self.memory.write(TABLES.start, bytes(TABLES_BYTES))  # they mean another thing when packed
        with self.memory.watched():
            try:
                self.driver.start(features, size)
            except UsageError:  # a feature without one that it needs
                self.driver.start(features & spec.F_QUEUES, size)

    def queue(self, number: int) -> SplitQueue | PackedQueue:
        return self.driver.queues[number % self.count]

    def step(self, offset: int, value: int) -> None:
        with self.memory.watched():
            self.driver.write(offset, value)

    def publish(
        self, queue: SplitQueue | PackedQueue, chain: list[Described], first: int, last: int = 0
    ) -> None:
        """Put a chain in, from descriptor `first` on; `last` is a flag of the last one."""
        note(f"queue {queue.index}, from {first}: {chain}, {last}")
        more = [NEXT] * (len(chain) - 1) + [last]
        for offset, ((gpa, size_bytes, flags), next_) in enumerate(zip(chain, more, strict=True)):
            if isinstance(queue, SplitQueue):
                index = (first + offset) % queue.size
                queue.describe(index, gpa, size_bytes, flags | next_, (index + 1) % queue.size)
            else:
                queue.describe(gpa, size_bytes, first, flags | next_)
        if isinstance(queue, SplitQueue):
            queue.publish(first % queue.size)

    # What an honest driver does too.

    @rule(tape=tapes)
    def ask(self, tape: Tape) -> None:
        """Requests that a device can serve; after a reset where one is needed."""
        for _ in range(1 + tape.below(3)):
            number, count = tape.below(self.count), 1 + tape.below(SLOTS)
            if not self.device.live:
                self.start(tape)
            queue = self.queue(number)
            for slot in range(count):
                chain = self.request(tape, number, slot)
                self.publish(queue, chain, self.place)
                self.place = self.place + len(chain) & 0xFF
            if tape.below(8) != 7:
                self.step(Reg.QUEUE_NOTIFY, number)

    def request(self, tape: Tape, number: int, slot: int) -> list[Described]:
        """Readable, then writable buffers; in a table of their own, perhaps."""
        form, data = tape.below(16), self.subject.request(tape, number)
        chain: list[Described] = []
        if data:
            gpa, cut = READABLE.start + 0x800 * slot, tape.below(len(data)) if form & 1 else 0
            self.memory.write(gpa, data)
            more = tape.one_of(0, 0, 0, 0, 512, 60, 4096, 0x1_0000)
            parts = (gpa, cut), (gpa + cut, len(data) - cut), (READABLE.start + 0x8000, more)
            chain = [(gpa, size_bytes, 0) for gpa, size_bytes in parts if size_bytes]
        for each in range(tape.below(4)):
            size_bytes = tape.one_of(1, 512, 16, 60, 4096, 0x8000, 0x1_0000)
            chain.append((WRITABLE.start + 0x1000 * each, size_bytes, WRITE))
        chain = chain or [(WRITABLE.start, 1 + tape.below(64), WRITE)]
        if form < 12 or not self.driver.features & spec.F_INDIRECT_DESC:
            return chain
        # Each offset has its own place, so that none is written across the entries of another.
        offset = tape.one_of(0, 0, tape.below(16))
        place = TABLES.start + 0x2000 + 0x80 * (16 * slot + offset) + offset
        self.write_entries(place, chain, chained=True)
        return [(place, 16 * len(chain), INDIRECT)]

    @rule(tape=tapes)
    def give(self, tape: Tape) -> None:
        """A chain of any buffers, in the right order or not."""
        queue, first = self.queue(tape.below(self.count)), tape.one_of(self.place, tape.below(20))
        chain = [buffer(tape) for _ in range(1 + tape.below(6))]
        if tape.below(4) != 3:
            chain.sort(key=lambda each: each[2])
        self.publish(queue, chain, first, tape.one_of(0, 0, 0, NEXT))
        self.place = self.place + len(chain) & 0xFF
        if tape.below(2):
            self.step(Reg.QUEUE_NOTIFY, queue.index)

    @rule(tape=tapes)
    def notify(self, tape: Tape) -> None:
        """The one thing that sets a device to work; queues that there are not, too."""
        number = tape.below(self.count)
        self.step(Reg.QUEUE_NOTIFY, tape.one_of(*(number,) * 7, tape.number(4)))

    @rule(tape=tapes)
    def go_on(self, tape: Tape) -> None:
        """What was put off, or the host has something."""
        with self.memory.watched():
            if tape.below(2):
                self.subject.poke(self.device)
            else:
                self.driver.catch_up(8)

    @rule(tape=tapes)
    def start_again(self, tape: Tape) -> None:
        """In the middle of whatever was going on: one queue, if that can be, or the device."""
        number = tape.below(self.count)
        negotiated = Status.FEATURES_OK in self.device.status
        if not (negotiated and self.driver.features & spec.F_RING_RESET and tape.below(4)):
            self.start(tape)
            return
        with self.memory.watched():
            self.driver.write(Reg.QUEUE_SEL, number)
            self.driver.write(Reg.QUEUE_RESET, 1)
        if self.driver.read(Reg.QUEUE_READY) == 0:
            self.driver.queues[number] = self.driver.set_up(number, 16)

    # What it must not do.

    @rule(tape=tapes)
    def scribble(self, tape: Tape) -> None:
        """A descriptor anywhere."""
        queue = self.queue(tape.below(self.count))
        place, following = tape.below(20) % queue.size, tape.one_of(tape.below(20), tape.number(2))
        gpa, size_bytes, flags = buffer(tape) if tape.below(2) else table(tape)
        note(f"queue {queue.index}, descriptor {place}: {gpa:#x}, {size_bytes}, {flags}")
        if isinstance(queue, SplitQueue):
            flags |= tape.one_of(0, NEXT)
            queue.describe(place, gpa, size_bytes, flags, following)
            if tape.below(2):
                queue.publish(tape.one_of(place, place, following))
        else:
            flags |= (following & 3) * spec.PACKED_F_AVAIL & 0x8080 | (following & 4) << 13
            entry = spec.PACKED_DESCRIPTOR.pack(gpa, size_bytes, following, flags)
            self.memory.write(queue.ring + 16 * place, entry)

    @rule(tape=tapes)
    def refer(self, tape: Tape) -> None:
        """To an indirect table, whatever is in it."""
        queue = self.queue(tape.below(self.count))
        self.publish(queue, [table(tape)], self.place)
        self.place += 1
        if tape.below(2):
            self.step(Reg.QUEUE_NOTIFY, queue.index)

    @rule(tape=tapes)
    def write_table(self, tape: Tape) -> None:
        """For those who refer to it."""
        entries = [
            table(tape) if tape.below(8) == 7 else buffer(tape) for _ in range(1 + tape.below(8))
        ]
        self.write_entries(TABLES.start, entries * tape.one_of(1, 1, 4), chained=not tape.below(2))

    def write_entries(self, place: int, entries: list[Described], *, chained: bool) -> None:
        """Chained one to the next, or each to itself."""
        note(f"table at {place:#x}: {entries}")
        data = b""
        for index, (gpa, size_bytes, flags) in enumerate(entries):
            if self.driver.features & spec.F_RING_PACKED:
                # Of the flags only WRITE counts there: a table is a buffer to read.
                flags &= 0 if flags & INDIRECT else WRITE
                data += spec.PACKED_DESCRIPTOR.pack(gpa, size_bytes, index, flags)
            else:
                flags |= NEXT if not chained or index + 1 < len(entries) else 0
                data += spec.DESCRIPTOR.pack(gpa, size_bytes, flags, index + chained)
        self.memory.write(place, data)

    @rule(tape=tapes)
    def scribble_ring(self, tape: Tape) -> None:
        """Indices, flags, events, heads, IDs: what else there is at the start of a part."""
        queue = self.queue(tape.below(self.count))
        value = tape.one_of(tape.below(20), tape.number(2))
        part, offset = tape.one_of(1, 1, 1, 2, 0), 2 * tape.below(4)
        if part == 0:  # descriptors: `scribble` writes what their places and sizes may be
            if isinstance(queue, SplitQueue):
                return
            offset = 12 + (offset & 2) + 16 * (value >> 4) % (16 * queue.size)
            if offset & 2:  # flags; as a used one keeps its address, that says which are allowed
                gpa = self.memory.read_int(queue.ring + offset - 14, 8)
                if gpa in TABLES:
                    return
                value = value & ~(WRITE | INDIRECT) | (0 if gpa in READABLE else WRITE)
        self.memory.write_int(queue.places[part] + offset, value, 2)

    @rule(tape=tapes)
    def move_a_queue(self, tape: Tape) -> None:
        """Off, to where it can be or not, and on, in sizes that are allowed or not."""
        if Status.FEATURES_OK not in self.device.status:
            return
        number = tape.below(self.count)
        size = tape.one_of(16, 16, 8, 4, 1, tape.one_of(0, 3, 256, tape.number(2)))
        places = [ELSEWHERE.start + 0x2000 * part + 16 * tape.below(64) for part in range(3)]
        broken = tape.below(6)
        if broken < 3:
            places[broken] = tape.one_of(places[broken] + tape.below(16), *NOWHERE)
        note(f"queue {number}: {size} entries, parts at {places}")
        self.memory.write(ELSEWHERE.start, bytes(len(ELSEWHERE)))  # of another form, perhaps
        write = self.driver.write
        with self.memory.watched():
            write(Reg.QUEUE_SEL, number)
            write(Reg.QUEUE_READY, 0)
            write(Reg.QUEUE_NUM, size)
            for register, gpa in zip(PLACES, places, strict=True):
                write(register, gpa & 0xFFFF_FFFF)
                write(register + 4, gpa >> 32)
            write(Reg.QUEUE_READY, 1)
        if self.device.queues[number].ready:
            self.follow(self.driver.queues[number], size, places)

    @staticmethod
    def follow(queue: SplitQueue | PackedQueue, size: int, places: list[int]) -> None:
        """What the driver puts in goes to where the queue is now."""
        queue.size, queue.places = size, (places[0], places[1], places[2])
        if isinstance(queue, SplitQueue):
            queue.table, queue.available, queue.used = places
            queue.next_available = 0
        else:
            queue.ring, queue.driver_area, queue.device_area = places
            queue.next_available, queue.available_wrap = 0, 1

    @rule(tape=tapes)
    def use_register(self, tape: Tape) -> None:
        """Any register; rings only where they cannot be."""
        known = REGISTERS[tape.below(len(REGISTERS))]
        offset = tape.one_of(known, known, known, 0x100 + tape.below(0x30), tape.number(2) % 0x200)
        size_bytes = tape.one_of(4, 4, 4, 1, 2, 8)
        value = tape.one_of(tape.below(20), tape.number(4), tape.number(8))
        if 0x80 <= offset < 0xB0:
            value |= 0xF000_0000
        if tape.below(3) == 0:
            read = self.driver.registers.read(offset, size_bytes)
            assert 0 <= read < 1 << 8 * size_bytes
            return
        note(f"register {offset:#x} = {value:#x}, {size_bytes} bytes")
        with self.memory.watched():
            masked = value & ((1 << 8 * size_bytes) - 1)
            self.driver.registers.write(offset, size_bytes, masked)

    # What holds whatever it does.

    @invariant()
    def little_is_put_off(self) -> None:
        assert len(self.driver.later) <= self.count + 2

    def teardown(self) -> None:
        """All is as it was where no device may write, and an honest driver is served."""
        assert self.memory.is_intact()
        assert self.subject.is_whole(self.device)
        with self.memory.watched():
            self.driver.start(0, 16)
        assert self.driver.status == Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK | (
            Status.DRIVER_OK
        )
        for number in self.subject.served:
            queue = self.driver.queues[number]
            queue.describe(0, WRITABLE.start, 512, WRITE, 0)
            queue.publish(0)
            with self.memory.watched():
                queue.notify()
                self.driver.catch_up(8)
            assert Status.DEVICE_NEEDS_RESET not in self.driver.status
            assert self.memory.read_int(queue.used + 2, 2) == 1
        self.device.close()
        self.memory.close()


def machine_of(name: str) -> type[RuleBasedStateMachine]:
    return type(f"RuleBreaker_{name}", (RuleBreaker,), {"subject": SUBJECTS[name]})


@pytest.mark.timeout(7200)  # in full it takes its time
@pytest.mark.parametrize("name", SUBJECTS)
def test_a_driver_that_breaks_the_rules(name: str, full: bool) -> None:
    campaign.run("test_rule_breaker", name, campaign.IN_FULL if full else campaign.IN_CI)


if __name__ == "__main__":
    campaign.serve(machine_of, STEPS)
