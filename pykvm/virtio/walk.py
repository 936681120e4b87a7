"""Virtqueues in C, many chains at a time: native/ring.

What it finds is what `SplitRing` and `PackedRing` find one by one; where it finds nothing they look
for themselves. What it stores in a ring is what they store. Packets of a network device pass
without a Chain for each.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pykvm._native import ffi, lib
from pykvm.memory import GuestMemory
from pykvm.virtio import spec
from pykvm.virtio.chain import Chain, Part, Used

_CHAIN, _BUFFER = struct.Struct("=IIIIQQ"), struct.Struct("=QQ")  # as in native/ring/ring.h
_PACKETS_BYTES = 1 << 18  # read at once; room for the largest one


class Walk:
    """One ring that is set up.

    Args:
        parts: the descriptors, the driver's part and the device's, §2.6.

    Attributes:
        wanted: whether rings use it; tests turn it off to compare.
        at: how far the device is: a struct pykvm_place, for the ring in Python too.
        wants_interrupt: whether the driver wants to hear of what was given back since it was
            last asked.
    """

    wanted = True

    def __init__(
        self,
        memory: GuestMemory,
        size: int,
        parts: tuple[Part, Part, Part],
        features: int,
    ) -> None:
        self._memory = memory
        self._kept = parts  # as long as they are there, so is what they show
        descriptors, driver, device = parts
        self._ring: Any = ffi.new(
            "struct pykvm_ring *",
            {"descriptors": _place(descriptors.view), "driver": _place(driver.view),
             "device": _place(device.view), "descriptors_gpa": descriptors.gpa,
             "device_gpa": device.gpa, "size": size,
             "packed": bool(features & spec.F_RING_PACKED),
             "indirect": bool(features & spec.F_INDIRECT_DESC),
             "event_idx": bool(features & spec.F_EVENT_IDX)},
        )  # fmt: skip
        self.at: Any = self._ring.at
        self.wants_interrupt: Callable[[], bool] = partial(
            lib.pykvm_ring_wants_interrupt, self._ring
        )
        self._rows = memoryview(ffi.buffer(self._ring.chain))
        self._buffers = memoryview(ffi.buffer(self._ring.buffer))
        self._told = memoryview(ffi.buffer(self._ring.told))
        self._layout = -1
        self._held: list[tuple[object, ...]] = []
        self._packets: Any = None

    def _learn(self) -> None:
        """Where memory is now; it stays while a call is under way, though the machine may close."""
        self._layout = self._memory.layout
        regions = self._memory.regions[: lib.PYKVM_RING_SPANS]
        self._held = [(each.view[:0], each.listener, each.on_write) for each in regions]
        for span, region in zip(self._ring.span, regions, strict=False):
            span.gpa, span.size_bytes = region.gpa, region.size_bytes
            span.memory = ffi.cast("uint8_t *", region.hva)
            span.listener = region.listener
            span.writable = not region.readonly
        self._ring.spans = len(regions)

    def _tell(self) -> None:
        """Tell whoever asked in Python of what the last call wrote to guest memory."""
        told = self._told[: _BUFFER.size * self._ring.tolds]
        self._memory.note_written(_BUFFER.iter_unpack(told))

    def read_packets(self, limit: int, sizes: range, skip: int) -> tuple[list[bytes], int, bool]:
        """What the driver sends, each from byte `skip` on; the chains are back.

        Args:
            limit: of packets, at most BURST.
            sizes: of packets; no other is read, nor one whose header asks for something.

        Returns:
            The packets, of how many buffers they were, and whether they were all: the driver
            notifies of what comes.
        """
        ring = self._ring
        if self._layout != self._memory.layout:
            self._learn()
        if self._packets is None:
            self._packets = ffi.new("uint8_t[]", _PACKETS_BYTES)
            self._data = ffi.buffer(self._packets)
        count = lib.pykvm_packets_read(
            ring, limit, sizes.start, sizes.stop - 1, self._packets, _PACKETS_BYTES
        )
        if ring.tolds:
            self._tell()
        found, start = [], 0
        for size_bytes in ffi.unpack(ring.packet_bytes, count):
            found.append(self._data[start + skip : start + size_bytes])
            start += size_bytes
        return found, ring.buffers, ring.drained

    def write_packets(self, packets: Sequence[bytes]) -> tuple[int, int]:
        """Put packets into a chain each, which go back: how many, and into how many buffers."""
        ring = self._ring
        if self._layout != self._memory.layout:
            self._learn()
        sizes = [*map(len, packets)]
        count = lib.pykvm_packets_write(ring, len(sizes), b"".join(packets), sizes)
        if ring.tolds:
            self._tell()
        return count, ring.buffers

    def take(self, ring: object, limit: int) -> list[Chain]:
        """The next chains; none where Python has to look at the first one."""
        native = self._ring
        if self._layout != self._memory.layout:
            self._learn()
        count = lib.pykvm_ring_take(native, limit)
        if count == 0:
            return []
        buffers = list(_BUFFER.iter_unpack(self._buffers[: _BUFFER.size * native.buffers]))
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

    def give(self, given: Sequence[Used]) -> None:
        """Give chains back."""
        if self._layout != self._memory.layout:
            self._learn()
        lib.pykvm_ring_give(self._ring, given, len(given))
        if self._ring.tolds:
            self._tell()

    def settle(self) -> bool:
        """Let the driver notify of what it puts in from now on; False where something is there."""
        if self._layout != self._memory.layout:
            self._learn()
        is_empty = lib.pykvm_ring_settle(self._ring)
        if self._ring.tolds:
            self._tell()
        return bool(is_empty)


def _place(view: memoryview) -> Any:
    """Where its bytes are.

    A buffer that stayed would crash CPython before 3.12.7 where a cycle of garbage holds both:
    python/cpython#77894.
    """
    with ffi.from_buffer("uint8_t[]", view) as buffer:
        return ffi.cast("uint8_t *", buffer)
