"""Virtqueues walked in C, many chains at a time: native/ring.

What it finds is what `SplitRing` and `PackedRing` find one by one; where it finds nothing they look
for themselves. Packets of a network device pass through what was found without a Chain for each.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from pykvm._native import ffi, lib
from pykvm.memory import GuestMemory
from pykvm.virtio.chain import Chain, Used

_CHAIN, _BUFFER = struct.Struct("=IIIIQQ"), struct.Struct("=QQ")  # as in native/ring/ring.h
_PACKETS_BYTES = 1 << 18  # read at once; room for the largest one


class Walk:
    """The walk of one ring that is set up.

    Args:
        descriptors: the table, or the packed ring.
        heads: of the available ring; None in a packed one.
        indirect: whether tables were negotiated.

    Attributes:
        wanted: whether rings use it; tests turn it off to compare.
    """

    wanted = True

    def __init__(
        self,
        memory: GuestMemory,
        size: int,
        descriptors: memoryview,
        heads: memoryview | None,
        indirect: bool,
    ) -> None:
        self._memory = memory
        self._kept = descriptors, heads  # as long as they are there, so is what they show
        self._ring: Any = ffi.new(
            "struct pykvm_ring *",
            {"descriptors": _place(descriptors), "heads": _place(heads or descriptors),
             "size": size, "indirect": indirect},
        )  # fmt: skip
        self._rows = memoryview(ffi.buffer(self._ring.chain))
        self._buffers = memoryview(ffi.buffer(self._ring.buffer))
        self._layout = -1
        self._packets: Any = None

    def split(self, next_: int, limit: int) -> int:
        """Find up to `limit` chains from entry `next_` of the available ring on: how many."""
        if self._layout != self._memory.layout:
            self._learn()
        return int(lib.pykvm_split_take(self._ring, next_, limit))

    def packed(self, next_: int, wrap: int, limit: int, room: int) -> int:
        """The same from the ring's entry `next_` on: chains of up to `room` descriptors."""
        if self._layout != self._memory.layout:
            self._learn()
        return int(lib.pykvm_packed_take(self._ring, next_, wrap, limit, room))

    def _learn(self) -> None:
        """Where memory is now."""
        self._layout = self._memory.layout
        regions = self._memory.regions[: lib.PYKVM_RING_SPANS]
        for span, region in zip(self._ring.span, regions, strict=False):
            span.gpa, span.size_bytes = region.gpa, region.size_bytes
            span.memory = ffi.cast("uint8_t *", region.hva)
            span.writable = not region.readonly
        self._ring.spans = len(regions)

    @property
    def buffers(self) -> int:
        """How many there are in the chains found."""
        return int(self._ring.buffers)

    def read_packets(self, count: int, sizes: range, skip: int) -> tuple[list[bytes], list[Used]]:
        """What the driver sends in the first of the chains found, from byte `skip` on.

        Args:
            sizes: of packets; no other is read, nor one whose header asks for something.

        Returns:
            The packets, and how their chains go back.
        """
        if self._packets is None:
            self._packets = ffi.new("uint8_t[]", _PACKETS_BYTES)
        count = lib.pykvm_packets_read(
            self._ring, count, sizes.start, sizes.stop - 1, self._packets, _PACKETS_BYTES
        )
        data = ffi.buffer(self._packets)
        found, used, start = [], [], 0
        for head, slots, _, _, size_bytes, _ in _CHAIN.iter_unpack(
            self._rows[: _CHAIN.size * count]
        ):
            found.append(data[start + skip : start + size_bytes])
            used.append((head, slots, 0))
            start += size_bytes
        return found, used

    def write_packets(self, packets: Sequence[bytes]) -> list[Used]:
        """Put packets into the first of the chains found, one into each: how these go back."""
        sizes = [*map(len, packets)]
        count = lib.pykvm_packets_write(self._ring, len(sizes), b"".join(packets), sizes)
        used, buffers = [], 0
        rows = _CHAIN.iter_unpack(self._rows[: _CHAIN.size * count])
        for (head, slots, _, writers, _, _), size_bytes in zip(rows, sizes, strict=False):
            used.append((head, slots, size_bytes))
            buffers += writers
        for gpa, size_bytes in _BUFFER.iter_unpack(self._buffers[: _BUFFER.size * buffers]):
            self._memory.note_written(gpa, size_bytes)
        return used

    def chains(self, ring: object, count: int) -> list[Chain]:
        """The first of the chains found."""
        buffers = list(_BUFFER.iter_unpack(self._buffers[: _BUFFER.size * self._ring.buffers]))
        memory, found, start = self._memory, [], 0
        for head, slots, readers, writers, read_bytes, write_bytes in _CHAIN.iter_unpack(
            self._rows[: _CHAIN.size * count]
        ):
            middle = start + readers
            end = middle + writers
            readable, writable = buffers[start:middle], buffers[middle:end]
            start = end
            found.append(
                Chain(memory, ring, head, slots, readable, writable, read_bytes, write_bytes)
            )
        return found


def _place(view: memoryview) -> Any:
    """Where its bytes are.

    A buffer that stayed would crash CPython before 3.12.7 where a cycle of garbage holds both:
    python/cpython#77894.
    """
    with ffi.from_buffer("uint8_t[]", view) as buffer:
        return ffi.cast("uint8_t *", buffer)
