"""Packets through a ring in C against those through chains in Python: the same, whatever a driver
wrote."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykvm import layout
from pykvm._native import ffi
from pykvm.memory import GuestMemory
from pykvm.net.port import Port, connect
from pykvm.virtio import net, offload, spec
from pykvm.virtio.net import Net
from pykvm.virtio.spec import Status
from pykvm.virtio.walk import Walk

SIZE = 8
TABLE, AVAILABLE, USED = 0x1000, 0x2000, 0x3000
QUEUE_BYTES = 0x4000  # from one queue to the next
PACKETS, BUFFERS, READONLY = 0x1_0000, 0x2_0000, 0x3_0000
NEXT, WRITE = spec.DESC_F_NEXT, spec.DESC_F_WRITE
RECEIVE, SEND = 0, 1

sizes = st.sampled_from([1, 2, 11, 12, 25, 26, 60, 72, 0x800])
odd_places = [READONLY, layout.RAM_HIGH_BASE, layout.RAM_HIGH_BASE - 1]
places = st.sampled_from([PACKETS, PACKETS + 0x40] * 30 + odd_places)
slots = st.sampled_from([BUFFERS + 0x800 * number for number in range(16)] * 4 + odd_places)
flags = st.sampled_from([0] * 20 + [NEXT] * 4 + [WRITE])
to_send = st.tuples(places, sizes, flags)
to_fill = st.tuples(
    slots,
    st.sampled_from([1, 12, 71, 72, 73, 0x800]),
    st.sampled_from([WRITE] * 20 + [WRITE | NEXT] * 4 + [0]),
)
heads = st.lists(st.sampled_from([bytes(12)] * 3 + [b"\1" + bytes(11), bytes([0, 1, *bytes(10)])]),
                 min_size=2, max_size=2)  # fmt: skip
frames = st.lists(st.integers(13, 300).map(lambda size: bytes(range(13)).ljust(size, b"x")),
                  max_size=SIZE + 2)  # fmt: skip
features = st.lists(
    st.sampled_from(
        [spec.F_RING_PACKED, spec.F_IN_ORDER, spec.F_EVENT_IDX, net.F_MRG_RXBUF, net.F_GUEST_CSUM]
    )
).map(lambda chosen: sum(set(chosen)) | spec.F_VERSION_1)


class Card:
    """A device in business, with two queues as the driver wrote them, and what came of it."""

    def __init__(self, chosen: int, rings: tuple[list[tuple[int, int, int]], ...]) -> None:
        self.memory = GuestMemory()
        self.memory.add(0, READONLY)
        self.memory.add(READONLY, 0x1000, readonly=True)
        self.memory.add(layout.RAM_HIGH_BASE, 0x1000)
        self.told: set[int] = set()
        for region in self.memory.regions:
            region.on_write = lambda gpa, size: self.told.update(range(gpa, gpa + size))
        self.sent: list[bytes] = []
        self.interrupts = 0
        self.device = Net()
        self.device.attach(self.memory)
        self.device.interrupt = self._interrupted
        connect(self.device.port, Port(lambda *frames: self.sent.extend(frames)))
        self.device.features = chosen
        for index, descriptors in enumerate(rings):
            self._set_up(index, descriptors)
        self.device.status = Status.FEATURES_OK | Status.DRIVER_OK

    def _interrupted(self, used: bool) -> None:
        self.interrupts += used

    def _set_up(self, index: int, descriptors: list[tuple[int, int, int]]) -> None:
        base, is_packed = QUEUE_BYTES * index, self.device.features & spec.F_RING_PACKED
        for number, (gpa, size_bytes, kind) in enumerate(descriptors):
            if is_packed:
                mark = kind | spec.PACKED_F_AVAIL
                entry = spec.PACKED_DESCRIPTOR.pack(gpa, size_bytes, number, mark)
            else:
                entry = spec.DESCRIPTOR.pack(gpa, size_bytes, kind, (number + 1) % SIZE)
            self.memory.write(base + TABLE + 16 * number, entry)
        if not is_packed:
            halves = 0, len(descriptors), *range(len(descriptors))
            ring = b"".join(each.to_bytes(2, "little") for each in halves)
            self.memory.write(base + AVAILABLE, ring)
        queue = self.device.queues[index]
        queue.size = SIZE
        queue.desc_gpa = base + TABLE
        queue.driver_gpa, queue.device_gpa = base + AVAILABLE, base + USED
        queue.enable(self.device.features)

    def hear_in_c(self) -> None:
        """Whoever asked is a function for C too."""
        told = self.told
        self._heard = ffi.callback(
            "void(void *, uint64_t, uint64_t)",
            lambda _, gpa, size: told.update(range(gpa, gpa + size)),
        )
        for region in self.memory.regions:
            region.listener.tell = self._heard

    def begin(self) -> None:
        """All is set up: what changes from now on is the device's doing, and is told of."""
        self.told.clear()
        self.before = [bytes(region.view) for region in self.memory.regions]

    def check_told(self) -> None:
        """Whoever asked knows of each byte that is another one now."""
        for region, before in zip(self.memory.regions, self.before, strict=True):
            pairs = enumerate(zip(before, bytes(region.view), strict=True), region.gpa)
            assert {gpa for gpa, (old, new) in pairs if old != new} <= self.told

    def outcome(self) -> tuple[object, ...]:
        """All that a driver, the other end of the cable and a user can see.

        Of a rule that was broken, just that: what came before may be back, or not.
        """
        content = [bytes(region.view) for region in self.memory.regions]
        told = {gpa for gpa in self.told if gpa >= PACKETS}
        self.check_told()
        self.memory.close()
        if self.device.problem:
            return (self.device.problem,)
        return (content, told, self.sent, self.device.statistics(), len(self.device.inbox),
                self.interrupts)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    chosen=features,
    send=st.lists(to_send, max_size=SIZE),
    fill=st.lists(to_fill, max_size=SIZE),
    heads=heads,
    come=frames,
    hears=st.booleans(),
)
def test_the_same_with_and_without_c(
    chosen: int,
    send: list[tuple[int, int, int]],
    fill: list[tuple[int, int, int]],
    heads: list[bytes],
    come: list[bytes],
    hears: bool,
) -> None:
    outcomes = []
    with pytest.MonkeyPatch.context() as patch:
        for wanted in (True, False):
            patch.setattr(Walk, "wanted", wanted)
            card = Card(chosen, (fill, send))
            if hears:
                card.hear_in_c()
                patch.setattr(Walk, "_tell", lambda _: pytest.fail("Python had to tell"))
            content = b"".join(head.ljust(0x40, b"d") for head in heads)
            card.memory.write(PACKETS, content)
            card.begin()
            card.device.inbox.put(*come)
            card.device.notify(RECEIVE)
            card.device.notify(SEND)
            outcomes.append(card.outcome())
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("packed", (0, spec.F_RING_PACKED))
def test_plain_packets_take_no_chain(packed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They pass in C, those in several buffers too; whoever asked is told of what was written."""
    monkeypatch.setattr(Walk, "take", lambda *_: pytest.fail("a chain was taken"))
    fill = [
        (BUFFERS, 30, WRITE | NEXT),
        (BUFFERS + 0x100, 100, WRITE),
        (BUFFERS + 0x800, 72, WRITE),
    ]
    send = [(PACKETS, 12, NEXT), (PACKETS + 0x100, 60, 0), (PACKETS, 26, 0)]
    card = Card(spec.F_VERSION_1 | packed, (fill, send))
    memory, device = card.memory, card.device
    # The head of a chain behind one of two buffers.
    if not packed:
        for base in (0, QUEUE_BYTES):
            memory.write(base + AVAILABLE + 4, b"\0\0\2\0")
            memory.write_int(base + AVAILABLE + 2, 2, 2)
    memory.write(PACKETS + 0x100, bytes(range(60)))
    card.told.clear()
    come = [b"a" * 50, b"b" * 60]
    device.inbox.put(*come)
    device.notify(RECEIVE)
    device.notify(SEND)
    header = offload.HEADER.pack(0, 0, 0, 0, 0, 0, 1)
    assert card.sent == [bytes(range(60)), bytes(14)]
    assert memory.read(BUFFERS, 30) + memory.read(BUFFERS + 0x100, 32) == header + come[0]
    assert memory.read(BUFFERS + 0x800, 72) == header + come[1]
    written = {*range(BUFFERS, BUFFERS + 30), *range(BUFFERS + 0x100, BUFFERS + 0x100 + 32),
               *range(BUFFERS + 0x800, BUFFERS + 0x800 + 72)}  # fmt: skip
    assert {gpa for gpa in card.told if gpa >= PACKETS} == written
    assert device.statistics() == net.Statistics(2, 110, 2, 74)
    place = TABLE + 8 if packed else USED + 8  # of the first one's length
    assert memory.read_int(place, 4) == 62
    memory.close()
