"""Which pages the guest has written: the log, a bitmap per region, or a ring per vCPU."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from threading import Lock
from typing import Any

from pykvm import layout
from pykvm._native import ffi, lib
from pykvm.backend.common import bitmap_for, bitmap_of, pages_in
from pykvm.backend.kvm.handle import Handle
from pykvm.backend.kvm.slots import MemorySlots
from pykvm.errors import UsageError
from pykvm.memory import Region

MIN_RING_ENTRIES = 1024  # KVM keeps up to 576 in reserve on processors that log pages
_SLOT_MASK = 0xFFFF  # the upper half is the address space: 0 outside SMM


class DirtyRing:
    """One vCPU's ring of written pages, mapped from its file descriptor."""

    def __init__(self, vcpu: Handle, entries: int) -> None:
        self.entries = entries
        size_bytes = entries * ffi.sizeof("struct kvm_dirty_gfn")
        offset = lib.KVM_DIRTY_LOG_PAGE_OFFSET * layout.PAGE_SIZE
        with vcpu.using() as fd:
            self._map = mmap.mmap(fd, size_bytes, offset=offset)
        self._buffer: Any = ffi.from_buffer("struct kvm_dirty_gfn[]", self._map)
        self._taken: Any = ffi.new("struct kvm_dirty_gfn[]", entries)
        self._next = 0

    def take(self) -> list[tuple[int, int]]:
        """Harvest what is there: (slot, page) in the order of the writes."""
        count = lib.pykvm_dirty_ring_take(self._buffer, self.entries, self._next, self._taken)
        self._next = (self._next + count) % self.entries
        return [(each.slot & _SLOT_MASK, each.offset) for each in self._taken[0:count]]

    def close(self) -> None:
        """Unmap."""
        ffi.release(self._buffer)
        self._map.close()


class DirtyRings:
    """The rings of a machine's vCPUs, and the pages found in them so far."""

    def __init__(self, entries: int) -> None:
        self.entries = entries
        self.lock = Lock()
        self.pages: set[int] = set()
        self._rings: list[DirtyRing] = []

    def add(self, vcpu: Handle) -> None:
        """Map a new vCPU's ring."""
        self._rings.append(DirtyRing(vcpu, self.entries))

    def take(self) -> Iterator[tuple[int, int]]:
        """Harvest all rings."""
        for ring in self._rings:
            yield from ring.take()

    def close(self) -> None:
        """Unmap all rings."""
        with self.lock:
            for ring in self._rings:
                ring.close()
            self._rings.clear()


class DirtyTracking(MemorySlots):
    """The part of a VM that tells which pages were written."""

    _rings: DirtyRings | None = None
    _protects_manually = False

    def protect_dirty_manually(self) -> None:
        """From now on `dirty_log` only tells, and `clear_dirty_log` starts pages anew.

        Source: api.rst §7.18 (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2).
        """
        enable = lib.KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE
        self.enable("KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2", enable)
        self._protects_manually = True

    def dirty_log(self, region: Region) -> list[int]:
        """Pages of a region written since the last call, as ascending addresses.

        The region must have been mapped with `log_dirty`, or `set_dirty_logging` called.
        Only the guest's own writes count, not those made through `GuestMemory`. With nested paging
        KVM may also name a page that the guest has only read, once, as it maps it for writing.

        Source: api.rst §4.8.
        """
        bitmap = bitmap_for(region)
        raw = ffi.new("struct kvm_dirty_log *", {"slot": self.slot_of(region)})
        raw.dirty_bitmap = bitmap
        self.call("KVM_GET_DIRTY_LOG", raw)
        return pages_in(region, bitmap)

    def clear_dirty_log(self, region: Region, gpas: Iterable[int]) -> None:
        """Watch these pages of a region again, after `protect_dirty_manually`.

        Raises:
            UsageError: a page is outside the region, or KVM protects pages by itself.

        Source: api.rst §4.117.
        """
        if not self._protects_manually:
            raise UsageError("dirty_log() clears by itself; call protect_dirty_manually() before")
        bitmap = bitmap_of(region, gpas)
        raw = ffi.new("struct kvm_clear_dirty_log *", {"slot": self.slot_of(region)})
        raw.num_pages, raw.dirty_bitmap = region.size_bytes // layout.PAGE_SIZE, bitmap
        self.call("KVM_CLEAR_DIRTY_LOG", raw)

    def enable_dirty_ring(self, entries: int) -> None:
        """Log writes in rings instead of bitmaps; call it before the first vCPU is made.

        Regions are still mapped with `log_dirty`. A vCPU whose ring runs full exits with
        DirtyRingFull.

        Args:
            entries: of each vCPU's ring; a power of two, MIN_RING_ENTRIES at least.

        Source: api.rst §8.29.
        """
        capability = "KVM_CAP_DIRTY_LOG_RING_ACQ_REL"
        if not self.system.capability(capability):
            capability = "KVM_CAP_DIRTY_LOG_RING"
        limit = self.system.require(capability) // ffi.sizeof("struct kvm_dirty_gfn")
        if not MIN_RING_ENTRIES <= entries <= limit or entries & entries - 1:
            raise UsageError(
                f"a dirty ring has {MIN_RING_ENTRIES} to {limit} entries here, "
                f"a power of two, not {entries}"
            )
        self.enable(capability, entries * ffi.sizeof("struct kvm_dirty_gfn"))
        self._rings = DirtyRings(entries)

    def collect_dirty_rings(self) -> None:
        """Empty the rings, so that vCPUs can go on; `dirty_ring` gives what was in them.

        Raises:
            UsageError: there are none.
        """
        rings = self._enabled_rings()
        with rings.lock:
            for slot, page in rings.take():
                if region := self._slots.get(slot):
                    rings.pages.add(region.gpa + page * layout.PAGE_SIZE)
            self.call("KVM_RESET_DIRTY_RINGS", 0)

    def dirty_ring(self) -> list[int]:
        """Pages written since the last call, by any vCPU, as ascending addresses."""
        self.collect_dirty_rings()
        rings = self._enabled_rings()
        with rings.lock:
            pages, rings.pages = rings.pages, set()
        return sorted(pages)

    def _enabled_rings(self) -> DirtyRings:
        if self._rings is None:
            raise UsageError("this machine has no dirty rings; call enable_dirty_ring() first")
        return self._rings
