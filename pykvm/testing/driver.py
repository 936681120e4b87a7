"""The driver's side of virtio: for tests of devices, without a machine or a guest.

`Driver` sets a device up through its registers as VIRTIO 1.2 §3.1 has it, in memory of its own;
`SplitQueue` and `PackedQueue` put requests into its queues and take them back. They are honest; a
test that is not writes to `memory` and the queue's places itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pykvm.errors import UsageError
from pykvm.memory import GuestMemory
from pykvm.virtio import spec
from pykvm.virtio.device import Device
from pykvm.virtio.mmio import Mmio, Reg
from pykvm.virtio.spec import Interrupt, Status

MEMORY_BYTES = 1 << 24
FIRST_GPA = 0x1000
_PARTS_BYTES = 16 + 2 + 8  # of a split queue, for each entry; a packed one has less


@dataclass(frozen=True)
class Request:
    """What was put into a queue.

    Attributes:
        head: its first descriptor's index, or its buffer ID in a packed ring.
        descriptors: how many of the ring's it takes up.
        readable, writable: (gpa, size) of each buffer.
    """

    head: int
    descriptors: int
    readable: tuple[tuple[int, int], ...]
    writable: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Used:
    """What came back: the request, how much was written, and those bytes."""

    request: Request
    written_bytes: int
    data: bytes


class Driver:
    """A driver that has a device to itself.

    Args:
        device: a new one, attached here.
        memory: where queues and buffers go; None for 16 MiB from address 0.
        first_gpa: where they begin; all up to the first region's end is the driver's.

    Attributes:
        registers: the device's, as the bus would hold them.
        line: the level of its interrupt line; `interrupts` counts how often it rose.
        later: what the device put off; `catch_up` does it.
    """

    def __init__(
        self, device: Device, memory: GuestMemory | None = None, first_gpa: int = FIRST_GPA
    ) -> None:
        self.device = device
        self._queues_gpa = first_gpa
        if memory is None:
            memory = GuestMemory()
            memory.add(0, MEMORY_BYTES)
        self.memory = memory
        self.line = False
        self.interrupts = 0
        self.later: deque[Callable[[], None]] = deque()
        self.registers = Mmio(device, memory, self._set_line, self.later.append)
        self.queues: list[SplitQueue | PackedQueue] = []
        self.features = 0
        self._next_gpa = self._first_gpa = self.queue_gpa(len(device.queues))
        self._end_gpa = memory.regions[0].end

    def _set_line(self, level: bool) -> None:
        self.interrupts += level and not self.line
        self.line = level

    # Registers.

    def read(self, offset: int) -> int:
        """A 32-bit register."""
        return self.registers.read(offset, 4)

    def write(self, offset: int, value: int) -> None:
        """Store to a 32-bit register."""
        self.registers.write(offset, 4, value)

    def config(self, offset: int, size_bytes: int) -> bytes:
        """Bytes of the configuration space, byte by byte."""
        return bytes(
            self.registers.read(Reg.CONFIG + offset + each, 1) for each in range(size_bytes)
        )

    @property
    def status(self) -> Status:
        """The device status field."""
        return Status(self.read(Reg.STATUS))

    def acknowledge(self) -> Interrupt:
        """Read and clear the reasons of the interrupt."""
        reasons = Interrupt(self.read(Reg.INTERRUPT_STATUS))
        self.write(Reg.INTERRUPT_ACK, int(reasons))
        return reasons

    def catch_up(self, turns: int = 1 << 10) -> None:
        """Let the device do what it put off, and what that puts off again."""
        while self.later and turns:
            self.later.popleft()()
            turns -= 1

    # Setting up, §3.1.1.

    def start(self, features: int | None = None, size: int | None = None) -> None:
        """Reset the device, negotiate, set every queue up, and say DRIVER_OK.

        Args:
            features: which to choose besides VERSION_1; None for all that are offered.
            size: of the queues at most; None for as large as they can be.

        Raises:
            UsageError: the device refuses the features.
        """
        self.negotiate(features)
        count = len(self.device.queues)
        self.queues = [self.set_up(index, size) for index in range(count)]
        self.write(Reg.STATUS, int(self.status | Status.DRIVER_OK))

    def negotiate(self, features: int | None = None) -> None:
        """The part before the queues."""
        for status in (Status(0), Status.ACKNOWLEDGE, Status.ACKNOWLEDGE | Status.DRIVER):
            self.write(Reg.STATUS, int(status))
        offered = 0
        for half in (0, 1):
            self.write(Reg.DEVICE_FEATURES_SEL, half)
            offered |= self.read(Reg.DEVICE_FEATURES) << 32 * half
        self.features = offered if features is None else features | spec.F_VERSION_1
        for half in (0, 1):
            self.write(Reg.DRIVER_FEATURES_SEL, half)
            self.write(Reg.DRIVER_FEATURES, self.features >> 32 * half & 0xFFFF_FFFF)
        self.write(Reg.STATUS, int(self.status | Status.FEATURES_OK))
        if Status.FEATURES_OK not in self.status:
            raise UsageError(f"the device refuses the features {self.features:#x}")

    def set_up(self, index: int, size: int | None = None) -> SplitQueue | PackedQueue:
        """One queue, new or again after a reset of its own."""
        self.write(Reg.QUEUE_SEL, index)
        largest = self.read(Reg.QUEUE_NUM_MAX)
        size = largest if size is None else min(size, largest)
        form = PackedQueue if self.features & spec.F_RING_PACKED else SplitQueue
        queue = form(self, index, size)
        self.write(Reg.QUEUE_NUM, size)
        for offset, gpa in zip(
            (Reg.QUEUE_DESC, Reg.QUEUE_DRIVER, Reg.QUEUE_DEVICE), queue.places, strict=True
        ):
            self.write(offset, gpa & 0xFFFF_FFFF)
            self.write(offset + 4, gpa >> 32)
        self.write(Reg.QUEUE_READY, 1)
        return queue

    def reset_queue(self, index: int) -> None:
        """Take a queue back from the device, and set it up anew. §2.6.1, §4.2.2."""
        self.write(Reg.QUEUE_SEL, index)
        self.write(Reg.QUEUE_RESET, 1)
        if self.read(Reg.QUEUE_RESET) or self.read(Reg.QUEUE_READY):
            raise UsageError(f"queue {index} is not reset")
        self.queues[index] = self.set_up(index, self.queues[index].size)

    def queue_gpa(self, index: int) -> int:
        """Where a queue's parts are put; buffers come behind the last queue."""
        sizes = [queue.size_max for queue in self.device.queues[:index]]
        return self._queues_gpa + sum(-(-_PARTS_BYTES * size // 64) * 64 + 64 for size in sizes)

    def allocate(self, size_bytes: int, align: int = 16) -> int:
        """Zeroed memory for buffers; what was given long ago is given again in the end."""
        gpa = -(-self._next_gpa // align) * align
        if gpa + size_bytes > self._end_gpa:
            gpa = -(-self._first_gpa // align) * align
        self._next_gpa = gpa + size_bytes
        self.memory.write(gpa, bytes(size_bytes))
        return gpa

    # Requests.

    def request(self, index: int, readable: bytes = b"", writable_bytes: int = 0) -> bytes:
        """Put one request into a queue, notify, and give what the device wrote.

        Raises:
            UsageError: it did not come back, or there is no such queue, as before `start`.
        """
        if not 0 <= index < len(self.queues):
            raise UsageError(f"queue {index} is not set up; start() does so, for those there are")
        queue = self.queues[index]
        queue.offer([readable] if readable else [], [writable_bytes] if writable_bytes else [])
        queue.notify()
        self.catch_up()
        used = queue.collect()
        if len(used) != 1:
            raise UsageError(f"{len(used)} requests came back: {self.device.problem}")
        return used[0].data


class _Queue:
    """What both forms share.

    Attributes:
        gpa: where it begins; `places`: of its three parts, as the registers want them.
        requests: what is out.
    """

    places: tuple[int, int, int]

    def __init__(self, driver: Driver, index: int, size: int) -> None:
        self.driver = driver
        self.memory = driver.memory
        self.index = index
        self.size = size
        self.event_idx = bool(driver.features & spec.F_EVENT_IDX)
        self.requests: dict[int, Request] = {}
        self.gpa = driver.queue_gpa(index)
        self.memory.write(self.gpa, bytes(_PARTS_BYTES * size + 32))

    def _buffers(
        self, readable: Sequence[bytes], writable: Sequence[int]
    ) -> list[tuple[int, int, int]]:
        """Memory for a request: (gpa, size, flags) of each buffer."""
        buffers = []
        for data in readable:
            gpa = self.driver.allocate(len(data))
            self.memory.write(gpa, data)
            buffers.append((gpa, len(data), 0))
        buffers += [
            (self.driver.allocate(size_bytes), size_bytes, spec.DESC_F_WRITE)
            for size_bytes in writable
        ]
        return buffers

    def _note(
        self, head: int, descriptors: int, buffers: Sequence[tuple[int, int, int]]
    ) -> Request:
        parts = [
            tuple((gpa, size_bytes) for gpa, size_bytes, flags in buffers if flags == kind)
            for kind in (0, spec.DESC_F_WRITE)
        ]
        request = self.requests[head] = Request(head, descriptors, *parts)
        return request

    def _used(self, head: int, written_bytes: int) -> Used:
        request = self.requests.pop(head)
        data = b"".join(self.memory.read(*each) for each in request.writable)
        return Used(request, written_bytes, data[:written_bytes])

    def notify(self) -> None:
        """Tell the device, whether it wants to hear or not."""
        self.driver.write(Reg.QUEUE_NOTIFY, self.index)


class SplitQueue(_Queue):
    """A split queue. §2.7.

    Attributes:
        table, available, used: where its parts are.
        next_available, next_used: the indices as they run, modulo 2^16.
    """

    def __init__(self, driver: Driver, index: int, size: int) -> None:
        super().__init__(driver, index, size)
        self.table = self.gpa
        self.available = self.table + 16 * size
        self.used = self.available + (2 * size + 9) // 4 * 4
        self.places = self.table, self.available, self.used
        self.next_available = self.next_used = self._told = 0
        self._free = deque(range(size))
        self._taken: dict[int, list[int]] = {}

    def describe(self, index: int, gpa: int, size_bytes: int, flags: int, following: int) -> None:
        """Write one descriptor."""
        entry = spec.DESCRIPTOR.pack(gpa, size_bytes, flags, following)
        self.memory.write(self.table + 16 * index, entry)

    def publish(self, head: int) -> None:
        """Make the chain at `head` available."""
        slot = self.available + 4 + 2 * (self.next_available % self.size)
        self.memory.write_int(slot, head, 2)
        self.next_available = (self.next_available + 1) & 0xFFFF
        self.memory.write_int(self.available + 2, self.next_available, 2)

    def offer(
        self, readable: Sequence[bytes], writable: Sequence[int] = (), *, indirect: bool = False
    ) -> Request:
        """Put a request in: bytes that the device reads, then sizes of what it writes.

        Raises:
            UsageError: there is no room, or nothing to describe.
        """
        buffers = self._buffers(readable, writable)
        count = 1 if indirect else len(buffers)
        if not buffers or count > len(self._free):
            raise UsageError(f"{len(buffers)} buffers for {len(self._free)} free descriptors")
        indices = [self._free.popleft() for _ in range(count)]
        if indirect:
            table = self.driver.allocate(16 * len(buffers))
            self._link(table, range(len(buffers)), buffers)
            self.describe(indices[0], table, 16 * len(buffers), spec.DESC_F_INDIRECT, 0)
        else:
            self._link(self.table, indices, buffers)
        self.publish(indices[0])
        self._taken[indices[0]] = indices
        return self._note(indices[0], count, buffers)

    def _link(
        self, table: int, indices: Sequence[int], buffers: Sequence[tuple[int, int, int]]
    ) -> None:
        following = [*indices[1:], 0]
        for place, (index, (gpa, size_bytes, flags)) in enumerate(
            zip(indices, buffers, strict=True)
        ):
            if place + 1 < len(buffers):
                flags |= spec.DESC_F_NEXT
            entry = spec.DESCRIPTOR.pack(gpa, size_bytes, flags, following[place])
            self.memory.write(table + 16 * index, entry)

    def wants_notification(self) -> bool:
        """Whether the device asks to be told of what was published since it last was. §2.7.10."""
        old, new, self._told = self._told, self.next_available, self.next_available
        if not self.event_idx:
            return not self.memory.read_int(self.used, 2) & spec.USED_F_NO_NOTIFY
        event = self.memory.read_int(self.used + 4 + 8 * self.size, 2)
        return (new - event - 1) & 0xFFFF < (new - old) & 0xFFFF

    def suppress(self, on: bool) -> None:
        """Ask for no interrupts, or for one at the next chain that comes back. §2.7.7."""
        if self.event_idx:
            event = self.next_used + (self.size if on else 0)
            self.memory.write_int(self.available + 4 + 2 * self.size, event, 2)
        else:
            self.memory.write_int(self.available, spec.AVAIL_F_NO_INTERRUPT if on else 0, 2)

    def collect(self) -> list[Used]:
        """What has come back since the last time, in order."""
        back = []
        while self.next_used != self.memory.read_int(self.used + 2, 2):
            slot = self.used + 4 + 8 * (self.next_used % self.size)
            head, written = spec.USED_ELEMENT.unpack(self.memory.read(slot, 8))
            self.next_used = (self.next_used + 1) & 0xFFFF
            self._free.extend(self._taken.pop(head))
            back.append(self._used(head, written))
        return back


class PackedQueue(_Queue):
    """A packed queue. §2.8.

    Attributes:
        ring, driver_area, device_area: where its parts are.
        next_available, next_used: places in the ring, each with its wrap counter.
    """

    def __init__(self, driver: Driver, index: int, size: int) -> None:
        super().__init__(driver, index, size)
        self.ring = self.gpa
        self.driver_area = self.ring + 16 * size
        self.device_area = self.driver_area + 4
        self.places = self.ring, self.driver_area, self.device_area
        self.next_available = self.next_used = 0
        self.available_wrap = self.used_wrap = 1
        self._room = size
        self._ids = deque(range(size))
        self._untold = 0

    def describe(
        self, gpa: int, size_bytes: int, id_: int, flags: int, *, publish: bool = True
    ) -> int:
        """Write the next descriptor, and mark it available at once or leave that for later.

        Returns:
            The flags that make it so.
        """
        marks = spec.PACKED_F_AVAIL if self.available_wrap else spec.PACKED_F_USED
        entry = spec.PACKED_DESCRIPTOR.pack(
            gpa, size_bytes, id_, flags | marks if publish else self._flags(self.next_available)
        )
        self.memory.write(self.ring + 16 * self.next_available, entry)
        self.next_available += 1
        self._untold += 1
        if self.next_available == self.size:
            self.next_available, self.available_wrap = 0, self.available_wrap ^ 1
        return flags | marks

    def _flags(self, index: int) -> int:
        return self.memory.read_int(self.ring + 16 * index + 14, 2)

    def offer(
        self, readable: Sequence[bytes], writable: Sequence[int] = (), *, indirect: bool = False
    ) -> Request:
        """As SplitQueue has it."""
        buffers = self._buffers(readable, writable)
        count = 1 if indirect else len(buffers)
        if not buffers or count > self._room:
            raise UsageError(f"{len(buffers)} buffers for {self._room} free descriptors")
        id_ = self._ids.popleft()
        self._room -= count
        first = self.next_available
        if indirect:
            table = self.driver.allocate(16 * len(buffers))
            entries = (spec.PACKED_DESCRIPTOR.pack(gpa, size, 0, flags)
                       for gpa, size, flags in buffers)  # fmt: skip
            self.memory.write(table, b"".join(entries))
            lines = [(table, 16 * len(buffers), spec.DESC_F_INDIRECT)]
        else:
            more = [spec.DESC_F_NEXT] * (len(buffers) - 1) + [0]
            lines = [(gpa, size, flags | next_)
                     for (gpa, size, flags), next_ in zip(buffers, more, strict=True)]  # fmt: skip
        marks = [
            self.describe(gpa, size, id_, flags, publish=place > 0)
            for place, (gpa, size, flags) in enumerate(lines)
        ]
        self.memory.write_int(self.ring + 16 * first + 14, marks[0], 2)
        return self._note(id_, count, buffers)

    def wants_notification(self) -> bool:
        """Whether the device asks to be told of what was published since it last was. §2.8.10."""
        untold, self._untold = self._untold, 0
        place, flags = spec.EVENT_SUPPRESS.unpack(self.memory.read(self.device_area, 4))
        if flags != spec.EVENT_DESC:
            return bool(flags == spec.EVENT_ENABLE)
        index, wrap = place & 0x7FFF, place >> 15
        back = self.next_available - index + (0 if wrap == self.available_wrap else self.size)
        return 0 < int(back) <= untold

    def suppress(self, on: bool) -> None:
        """Ask for no interrupts, or for one at the next chain that comes back."""
        if on:
            place, flags = 0, spec.EVENT_DISABLE
        elif self.event_idx:
            place, flags = self.next_used | self.used_wrap << 15, spec.EVENT_DESC
        else:
            place, flags = 0, spec.EVENT_ENABLE
        self.memory.write(self.driver_area, spec.EVENT_SUPPRESS.pack(place, flags))

    def collect(self) -> list[Used]:
        """What has come back since the last time, in order."""
        back = []
        both = spec.PACKED_F_AVAIL | spec.PACKED_F_USED
        while self.requests:
            entry = self.memory.read(self.ring + 16 * self.next_used, 16)
            _, written, id_, flags = spec.PACKED_DESCRIPTOR.unpack(entry)
            if flags & both != (both if self.used_wrap else 0):
                break
            used = self._used(id_, written if flags & spec.DESC_F_WRITE else 0)
            self._ids.append(id_)
            self._room += used.request.descriptors
            self.next_used += used.request.descriptors
            if self.next_used >= self.size:
                self.next_used, self.used_wrap = self.next_used - self.size, self.used_wrap ^ 1
            back.append(used)
        return back
