"""A ring's device side in C against the one in Python, step by step, whatever a driver stores."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykvm.memory import GuestMemory
from pykvm.virtio import spec
from pykvm.virtio.packed import PackedRing
from pykvm.virtio.ring import Ring
from pykvm.virtio.split import SplitRing
from pykvm.virtio.walk import Walk

SIZE = 4
TABLE, DRIVER, DEVICE, BUFFERS = 0x1000, 0x2000, 0x3000, 0x4000
RAM_BYTES = 0x5000

halves = st.sampled_from([0, 1, 2, 3, 4, 0x8000, 0x8001, 0x8003, 0xFFFE, 0xFFFF])
steps = st.one_of(
    st.tuples(st.just("put"), st.integers(1, 3)),
    st.tuples(st.just("put"), st.integers(1, 3)),
    st.tuples(st.just("take"), st.integers(1, SIZE)),
    st.tuples(st.just("take"), st.integers(1, SIZE)),
    st.tuples(st.just("give"), st.integers(1, SIZE)),
    st.tuples(st.just("give"), st.integers(1, SIZE)),
    st.tuples(st.sampled_from(["quiet", "listen", "settle", "wants_interrupt"]), st.just(0)),
    st.tuples(st.just("event"), halves),
    st.tuples(st.just("flags"), st.sampled_from([0, 1, 2, 3])),
)


class Side:
    """A ring, its driver, and what can be seen of both."""

    def __init__(self, features: int, start: int, in_c: bool) -> None:
        self.memory = GuestMemory()
        region = self.memory.add(0, RAM_BYTES)
        self.told: set[int] = set()
        self.is_packed = bool(features & spec.F_RING_PACKED)
        self.put_in = self.given = 0
        for index in range(SIZE):
            entry = spec.DESCRIPTOR.pack(BUFFERS + index, 1, spec.DESC_F_WRITE * (index & 1), 0)
            self.memory.write(TABLE + 16 * index, b"" if self.is_packed else entry)
        form: type[Ring] = PackedRing if self.is_packed else SplitRing
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Walk, "wanted", in_c)
            self.ring = form(self.memory, SIZE, (TABLE, DRIVER, DEVICE), features)  # type: ignore[call-arg, arg-type]
        if not self.is_packed:  # as if so many had passed
            self.put_in = self.given = self.ring._at.available = self.ring._at.used = start
            self.memory.write_int(DRIVER + 2, start, 2)
        self.out: deque[tuple[int, int, int]] = deque()
        region.on_write = lambda gpa, size: self.told.update(range(gpa, gpa + size))

    def put(self, count: int) -> None:
        """The driver makes chains of one descriptor available, as far as it has any left."""
        for _ in range(min(count, SIZE - (self.put_in - self.given))):
            index, lap = self.put_in % SIZE, self.put_in // SIZE % 2
            self.put_in += 1
            if self.is_packed:
                mark = spec.PACKED_F_USED if lap else spec.PACKED_F_AVAIL
                flags = mark | spec.DESC_F_WRITE * (index & 1)
                entry = spec.PACKED_DESCRIPTOR.pack(BUFFERS + index, 1, index, flags)
                self.memory.write(TABLE + 16 * index, entry)
            else:
                self.memory.write_int(DRIVER + 4 + 2 * index, index, 2)
                self.memory.write_int(DRIVER + 2, self.put_in, 2)

    def give(self, count: int) -> None:
        given = [self.out.popleft() for _ in range(min(count, len(self.out)))]
        self.given += len(given)
        if given:
            self.ring.give(given)

    def step(self, name: str, value: int) -> object:
        """Do it; what it returned."""
        self.told.clear()
        match name:
            case "put":
                return self.put(value)
            case "take":
                return self.take(value)
            case "give":
                return self.give(value)
            case "event":
                place = DRIVER if self.is_packed else DRIVER + 4 + 2 * SIZE
                return self.memory.write_int(place, value, 2)
            case "flags":
                place = DRIVER + 2 if self.is_packed else DRIVER
                return self.memory.write_int(place, value, 2)
        return getattr(self.ring, name)()

    def take(self, limit: int) -> list[tuple[int, int]]:
        """All at once or one by one, as the ring likes."""
        found: list[tuple[int, int]] = []
        while len(found) < limit and (some := self.ring.take(limit - len(found))):
            found += [(chain.head, chain.slots) for chain in some]
        self.out.extend((head, slots, head & 1) for head, slots in found)
        return found

    def state(self) -> tuple[object, ...]:
        at = self.ring._at
        names = "available", "used", "available_wrap", "used_wrap", "quiet", "out", "unsignalled"
        return bytes(self.memory.regions[0].view), *(getattr(at, name) for name in names)


@pytest.mark.parametrize("form", [0, spec.F_RING_PACKED])
@pytest.mark.parametrize("event_idx", [0, spec.F_EVENT_IDX])
@settings(max_examples=200, deadline=None)
@given(start=st.sampled_from([0, 3, 0xFFFD]), path=st.lists(steps, max_size=40))
def test_each_step_is_the_same(
    form: int, event_idx: int, start: int, path: list[tuple[str, int]]
) -> None:
    sides = [Side(form | event_idx, start, in_c) for in_c in (True, False)]
    for name, value in path:
        before = [bytes(side.memory.regions[0].view) for side in sides]
        results = [side.step(name, value) for side in sides]
        assert results[0] == results[1], name
        assert sides[0].state() == sides[1].state(), name
        assert sides[0].told == sides[1].told, name
        if name not in ("put", "event", "flags"):
            now = bytes(sides[0].memory.regions[0].view)
            changed = {gpa for gpa, pair in enumerate(zip(before[0], now, strict=True))
                       if pair[0] != pair[1]}  # fmt: skip
            assert changed <= sides[0].told, name
    for side in sides:
        side.memory.close()
