"""Virtqueues walked in C, many chains at a time: native/ring.

What it finds is what `SplitRing` and `PackedRing` find one by one; where it finds nothing they look
for themselves.
"""

from __future__ import annotations

import struct
from typing import Any

from pykvm._native import ffi, lib
from pykvm.memory import GuestMemory
from pykvm.virtio.chain import Chain

_CHAIN, _BUFFER = struct.Struct("=IIIIQQ"), struct.Struct("=QQ")  # as in native/ring/ring.h


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

    def split(self, ring: object, next_: int, limit: int) -> list[Chain]:
        """Up to `limit` chains from entry `next_` of the available ring on."""
        if self._layout != self._memory.layout:
            self._learn()
        return self._chains(ring, lib.pykvm_split_take(self._ring, next_, limit))

    def packed(self, ring: object, next_: int, wrap: int, limit: int, room: int) -> list[Chain]:
        """Up to `limit` chains of up to `room` descriptors from the ring's entry `next_` on."""
        if self._layout != self._memory.layout:
            self._learn()
        return self._chains(ring, lib.pykvm_packed_take(self._ring, next_, wrap, limit, room))

    def _learn(self) -> None:
        """Where memory is now."""
        self._layout = self._memory.layout
        regions = self._memory.regions[: lib.PYKVM_RING_SPANS]
        for span, region in zip(self._ring.span, regions, strict=False):
            span.gpa, span.size_bytes = region.gpa, region.size_bytes
            span.memory = ffi.cast("uint8_t *", region.hva)
            span.writable = not region.readonly
        self._ring.spans = len(regions)

    def _chains(self, ring: object, count: int) -> list[Chain]:
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
