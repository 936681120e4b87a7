"""The walk in C against the one in Python: the same chains of whatever a driver wrote."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykvm import layout
from pykvm.memory import GuestMemory
from pykvm.net import frames
from pykvm.virtio import spec
from pykvm.virtio.chain import Chain, Part, QueueError
from pykvm.virtio.packed import PackedRing
from pykvm.virtio.split import SplitRing
from pykvm.virtio.walk import Walk

SIZE = 8
TABLE, AVAILABLE, USED = 0x1000, 0x2000, 0x3000
TABLES = 0x4000
RAM_BYTES = 0x8000
NEXT, WRITE, INDIRECT = spec.DESC_F_NEXT, spec.DESC_F_WRITE, spec.DESC_F_INDIRECT

places = st.sampled_from(  # regions that adjoin, that end, and that there are not
    [0x5000, RAM_BYTES - 16, RAM_BYTES, 0x1_0000 - 8, 0x1_0FF8, 0x1_1000, 2**64 - 8,
     layout.RAM_HIGH_BASE, layout.RAM_HIGH_BASE + 0xFF0]
)  # fmt: skip
others = st.integers(0, SIZE)
good = st.tuples(st.just(0x5000), st.just(16), others, st.sampled_from([0, NEXT, NEXT | WRITE]))
odd = st.tuples(
    st.one_of(places, st.integers(0, 2**64 - 1)),
    st.sampled_from([0, 1, 8, 16, 17, 4096, 2**31, 2**32 - 1]),
    others,
    st.sampled_from([0, NEXT, WRITE, NEXT | WRITE]),
)
tables = st.tuples(
    st.sampled_from([TABLES, TABLES + 32, RAM_BYTES - 32, 0x1_1000 - 16]),
    st.sampled_from([0, 8, 16, 32, 16 * SIZE, 16 * SIZE + 16, 2**32 - 16]),
    others,
    st.sampled_from([INDIRECT, INDIRECT | WRITE, INDIRECT | NEXT]),
)
descriptors = st.one_of(good, good, odd, tables)
table_of = st.lists(descriptors.map(lambda each: pack(each)), min_size=SIZE, max_size=SIZE)
marks = st.sampled_from([spec.PACKED_F_AVAIL] * 6 + [0, spec.PACKED_F_USED])


def pack(entry: tuple[int, int, int, int]) -> bytes:
    gpa, size_bytes, other, flags = entry
    return spec.DESCRIPTOR.pack(gpa, size_bytes, flags, other)


def memory_with(table: list[bytes], inner: list[bytes]) -> GuestMemory:
    """Regions that adjoin, with a hole, and far up."""
    memory = GuestMemory()
    memory.add(0, RAM_BYTES)
    memory.add(0x1_0000, 0x1000)
    memory.add(0x1_1000, 0x1000)
    memory.add(layout.RAM_HIGH_BASE, 0x1000)
    memory.write(TABLE, b"".join(table))
    memory.write(TABLES, b"".join(inner))
    return memory


def drained(ring: SplitRing | PackedRing, limit: int) -> tuple[list[tuple[object, ...]], str]:
    """All that can be taken, and what ended it."""
    found: list[Chain] = []
    try:
        while some := ring.take(limit):
            assert len(some) <= limit
            found += some
    except QueueError as error:
        return [seen(chain) for chain in found], str(error)
    return [seen(chain) for chain in found], ""


def seen(chain: Chain) -> tuple[object, ...]:
    return (chain.head, chain.slots, chain.readable, chain.writable, chain.readable_bytes,
            chain.writable_bytes)  # fmt: skip


def compare(
    form: type[SplitRing] | type[PackedRing], memory: GuestMemory, features: int, limit: int
) -> None:
    results = []
    with pytest.MonkeyPatch.context() as patch:
        for wanted in (True, False):
            patch.setattr(Walk, "wanted", wanted)
            ring = form(memory, SIZE, (TABLE, AVAILABLE, USED), features)
            results.append(drained(ring, limit))
    assert results[0] == results[1]


@settings(max_examples=500, deadline=None)
@given(
    table=table_of,
    inner=table_of,
    heads=st.lists(st.integers(0, SIZE), min_size=SIZE, max_size=SIZE),
    waiting=st.integers(0, SIZE + 1),
    limit=st.integers(1, 4),
    indirect=st.sampled_from([spec.F_INDIRECT_DESC] * 3 + [0]),
)
def test_split(
    table: list[bytes], inner: list[bytes], heads: list[int], waiting: int, limit: int,
    indirect: int,
) -> None:  # fmt: skip
    """As they come, and each by itself."""
    memory = memory_with(table, inner)
    for count, order in (waiting, heads), *((1, [head]) for head in range(SIZE)):
        ring = b"".join(each.to_bytes(2, "little") for each in (0, count, *order))
        memory.write(AVAILABLE, ring)
        compare(SplitRing, memory, indirect, limit)
    memory.close()


@settings(max_examples=500, deadline=None)
@given(
    ring=st.lists(st.tuples(descriptors, marks), min_size=SIZE, max_size=SIZE),
    inner=table_of,
    limit=st.integers(1, 4),
    indirect=st.sampled_from([spec.F_INDIRECT_DESC] * 3 + [0]),
)
def test_packed(
    ring: list[tuple[tuple[int, int, int, int], int]], inner: list[bytes], limit: int, indirect: int
) -> None:
    """From each entry on."""
    table = [
        spec.PACKED_DESCRIPTOR.pack(gpa, size_bytes, id_, flags | mark)
        for (gpa, size_bytes, id_, flags), mark in ring
    ]
    memory = memory_with([], inner)
    for first in range(SIZE):
        memory.write(TABLE, b"".join(table[first:] + table[:first]))
        compare(PackedRing, memory, indirect, limit)
    memory.close()


def test_many_at_once_and_what_does_not_fit_the_walk() -> None:
    """Chains of more buffers than it has room for are Python's."""
    size = 1024
    memory = GuestMemory()
    memory.add(0, 1 << 20)
    chain = [spec.DESCRIPTOR.pack(0x8_0000, 1, NEXT, (index + 1) % size) for index in range(600)]
    chain[-1] = spec.DESCRIPTOR.pack(0x8_0000, 1, 0, 0)
    plain = spec.DESCRIPTOR.pack(0x8_0000, 16, WRITE, 0)
    memory.write(0x1_0000, b"".join(chain) + plain * (size - 600))
    heads = [*range(700, 800), 0, *range(800, 810)]
    memory.write(0x2_0000, b"".join(each.to_bytes(2, "little") for each in (0, len(heads), *heads)))
    ring = SplitRing(memory, size, (0x1_0000, 0x2_0000, 0x3_0000), 0)
    counts = []
    while some := ring.take(1000):
        counts.append([len(each.readable) for each in some])
    assert counts == [[0] * 64, [0] * 36, [600], [0] * 10]
    memory.close()


def test_memory_that_moves_is_found_again() -> None:
    memory = memory_with([spec.DESCRIPTOR.pack(0x2_0000, 16, 0, 0)] * SIZE, [])
    memory.write(AVAILABLE, b"".join(each.to_bytes(2, "little") for each in (0, 3)))
    ring = SplitRing(memory, SIZE, (TABLE, AVAILABLE, USED), 0)
    with pytest.raises(QueueError, match="not all RAM"):
        ring.take(1)
    region = memory.add(0x2_0000, 0x1000)
    assert len(ring.take(1)) == 1
    memory.move(region, 0x3_0000)
    with pytest.raises(QueueError, match="not all RAM"):
        ring.take(1)
    memory.close()
    with pytest.raises(Exception, match="closed"):
        ring.take(1)


@given(st.binary(max_size=2000), st.integers(0, 3))
def test_the_ones_complement_sum(data: bytes, start: int) -> None:
    """2^16 is 1 modulo 65,535, so the sum is what the number leaves. RFC 1071."""
    part = data[start:]
    number = int.from_bytes(part + bytes(len(part) % 2), "big")
    expected = number % 0xFFFF or (0xFFFF if number else 0)
    assert frames.ones_sum(part) == expected
    if start <= len(data):
        assert frames.checksum(data, start, len(data)) == ~expected & 0xFFFF
    with pytest.raises(ValueError, match="bytes"):
        frames.checksum(data, 0, len(data) + 1)


def test_a_walk_may_be_garbage_in_a_cycle_with_what_it_walks() -> None:
    memory = GuestMemory()
    memory.add(0, RAM_BYTES)
    part = Part(memory, "ring", TABLE, 16, 16 * SIZE)
    cycle: list[object] = [part, Walk(memory, SIZE, (part, part, part), 0)]
    cycle.append(cycle)
    part.halves.release()  # nobody has a buffer of it: the collector may clear it before the walk
    part.view.release()
    del cycle, part
    gc.collect()
