"""Guest memory: regions of host memory, and the one checked accessor to all of them."""

from __future__ import annotations

import mmap
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum
from functools import lru_cache, partial
from typing import Any

from pykvm import layout
from pykvm._native import ffi, lib
from pykvm.errors import (
    ClosedError,
    LayoutError,
    MemoryAccessError,
    PykvmError,
    UsageError,
    explain,
)
from pykvm.text import excerpt

MAX_SIZE = 1 << 64
_UNITS = {"": 1, "K": layout.KIB, "M": layout.MIB, "G": layout.GIB}


def parse_size(size: int | str) -> int:
    """Bytes from a number, or from text such as "64K", "16M", "2G" or "0x100000".

    Raises:
        UsageError: not a size.
    """
    if isinstance(size, int) and not isinstance(size, bool):
        return size
    return _parse_text(str(size))


@lru_cache(maxsize=64)
def _parse_text(size: str) -> int:
    text = size.strip().upper().removesuffix("IB").removesuffix("B")
    unit = text[-1:] if text[-1:] in _UNITS and not text.startswith("0X") else ""
    try:
        size_bytes = int(text.removesuffix(unit), 0) * _UNITS[unit]
    except ValueError:
        size_bytes = MAX_SIZE
    if size_bytes >= MAX_SIZE:
        raise UsageError(f"{excerpt(size)} is not a size; write a number of bytes, or 64K, 16M, 2G")
    return size_bytes


class Backing(Enum):
    """Where guest memory comes from."""

    ANONYMOUS = "anonymous"
    MEMFD = "memfd"
    HUGE = "huge"  # 2 MiB pages: hugetlbfs where it has free pages, else transparent


class Region:
    """One contiguous piece of guest memory, mapped into this process.

    Attributes:
        gpa, size_bytes: where the guest sees it; `end` is the first address behind it.
        hva: its address in this process.
        readonly: guest writes exit as MMIO instead.
        backing: what it really rests on; `note` says why where that is not what was asked.
        fd: of the memfd, None otherwise.
        is_mapped: a machine sees it: it cannot be unmapped here meanwhile.
        on_write: who is told of writes from outside the guest: gpa and number of bytes.
        listener: the same for C, where a C function is told: a struct pykvm_listener.
    """

    def __init__(self, gpa: int, size_bytes: int, backing: Backing, readonly: bool) -> None:
        self.size_bytes = size_bytes
        self.place(gpa)
        self.readonly = readonly
        self.backing = backing
        self.note = ""
        self.fd: int | None = None
        self.is_mapped = False
        self.on_write: Callable[[int, int], None] | None = None
        self.listener: Any = ffi.new("struct pykvm_listener *")
        self._map = self._open()
        self._buffer: Any = ffi.from_buffer("uint8_t[]", self._map, require_writable=True)
        address = int(ffi.cast("uintptr_t", self._buffer))
        self._skip = -address % layout.LARGE_PAGE_SIZE if backing is Backing.HUGE else 0
        self.hva = address + self._skip
        self.view = memoryview(self._map)[self._skip : self._skip + size_bytes]

    def place(self, gpa: int) -> None:
        """Note where the guest sees it from now on."""
        self.gpa = gpa
        self.end = gpa + self.size_bytes

    def check_unmapped(self) -> None:
        """Raise where a machine sees the region.

        Raises:
            UsageError: it does.
        """
        if self.is_mapped:
            raise UsageError(
                f"the machine sees the memory at {self.gpa:#x}: take it away with "
                "vm.vm.unmap(region), or close the machine"
            )

    def _open(self) -> mmap.mmap:
        try:
            if self.backing is Backing.MEMFD:
                self.fd = os.memfd_create("pykvm", os.MFD_CLOEXEC)
                os.ftruncate(self.fd, self.size_bytes)
                return mmap.mmap(self.fd, self.size_bytes)
            if self.backing is Backing.HUGE:
                return self._open_huge()
            return mmap.mmap(-1, self.size_bytes, flags=_PRIVATE)
        except (OSError, ValueError, OverflowError) as error:
            if self.fd is not None:
                os.close(self.fd)
            why = explain(error) if isinstance(error, OSError) else error
            raise LayoutError(
                f"cannot map {self.size_bytes:#x} bytes of {self.backing.value} memory: {why}"
            ) from error

    def _open_huge(self) -> mmap.mmap:
        if self.size_bytes % layout.LARGE_PAGE_SIZE:
            raise LayoutError(f"huge pages need a multiple of 2 MiB, not {self.size_bytes:#x}")
        try:
            return mmap.mmap(-1, self.size_bytes, flags=_RESERVED | _HUGETLB_2M)
        except OSError:
            self.note = (
                "no free 2 MiB pages in hugetlbfs (vm.nr_hugepages); "
                "using transparent huge pages instead"
            )
        # Before Linux 6.7 a mapping may begin anywhere: there is room to begin at a large page.
        mapped = mmap.mmap(-1, self.size_bytes + layout.LARGE_PAGE_SIZE, flags=_PRIVATE)
        mapped.madvise(mmap.MADV_HUGEPAGE)
        return mapped

    def listen(self, name: str, machine: Any) -> None:
        """Let a C function hear of writes from outside the guest, of this machine's memory."""
        self.on_write = partial(getattr(lib, name), machine)
        self.listener.tell, self.listener.who = ffi.addressof(lib, name), machine

    def listen_no_more(self) -> None:
        """Forget the machine, which refers to this region.

        A call that is under way may still come to it.
        """
        self.on_write = None
        self.listener.tell = ffi.NULL

    def written(self, start: int, end: int) -> None:
        """Tell whoever asked that the bytes at offsets [start, end) have changed."""
        if (on_write := self.on_write) is not None:
            on_write(self.gpa + start, end - start)

    def clear(self, start: int, end: int) -> None:
        """Make the bytes at offsets [start, end) zero."""
        first, last = self._whole_pages(start, end)
        self.view[start:first] = bytes(first - start)
        if first < last:
            self._advise(first, last - first)
        self.view[last:end] = bytes(end - last)

    def discard(self, start: int, end: int) -> None:
        """Give the host's whole pages at offsets [start, end) back: zeros, once touched again."""
        first, last = self._whole_pages(start, end)
        if first < last:
            self._advise(first, last - first)
            self.written(first, last)

    def _whole_pages(self, start: int, end: int) -> tuple[int, int]:
        page_size = layout.LARGE_PAGE_SIZE if self.backing is Backing.HUGE else layout.PAGE_SIZE
        first = min(end, -(-start // page_size) * page_size)
        return first, max(first, end // page_size * page_size)

    def _advise(self, start: int, size_bytes: int) -> None:
        """Drop whole pages, which read as zero from then on; madvise(2)."""
        advice = mmap.MADV_REMOVE if self.backing is Backing.MEMFD else mmap.MADV_DONTNEED
        self._map.madvise(advice, self._skip + start, size_bytes)

    def close(self) -> None:
        """Unmap, or where somebody still holds a view, leave that to the view's end.

        Raises:
            UsageError: a machine sees it.
        """
        self.check_unmapped()
        self.view.release()
        ffi.release(self._buffer)
        with suppress(BufferError):
            self._map.close()
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


# Huge pages are reserved when they are mapped: a lack of them is an error then, not a
# SIGBUS at the first access.
_RESERVED = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_PRIVATE = _RESERVED | getattr(mmap, "MAP_NORESERVE", 0x4000)
_HUGETLB_2M = 0x40000 | 21 << 26  # MAP_HUGETLB | MAP_HUGE_2MB, <linux/mman.h>


# What comes out of an access with wrong types, or on memory that another thread has closed.
_COMPLAINTS = (TypeError, ValueError, OverflowError, IndexError, AttributeError)


class GuestMemory:
    """All memory of one machine, by guest-physical address.

    Regions never overlap. An access may end exactly at the end of memory and may cross
    from one region into an adjoining one; it never touches anything else.

    Attributes:
        is_new: nothing was written yet through this accessor: the bytes are all zero as long
            as no guest has run.
        layout: another number whenever regions have come, gone or moved.
    """

    is_new = True
    layout = 0

    def __init__(self) -> None:
        self.regions: list[Region] = []
        self._bases: list[int] = []
        self._latest: Region | None = None
        self._closed = False

    def add(
        self,
        gpa: int,
        size_bytes: int,
        backing: Backing = Backing.ANONYMOUS,
        readonly: bool = False,
    ) -> Region:
        """Map new zeroed memory at `gpa`.

        Raises:
            LayoutError: not whole pages, out of range, or overlapping what is there.
        """
        if self._closed:
            raise ClosedError("machine")
        self._check_place(gpa, size_bytes, None)
        region = Region(gpa, size_bytes, backing, readonly)
        self._insert(region)
        return region

    def move(self, region: Region, gpa: int) -> None:
        """Give a region another address; its backend has to be told.

        Raises:
            LayoutError: not a page's address, out of range, or overlapping another region.
        """
        self._check_place(gpa, region.size_bytes, region)
        self._take_out(region)
        region.place(gpa)
        self._insert(region)

    def remove(self, region: Region) -> None:
        """Take a region out and unmap it.

        Raises:
            UsageError: the machine sees it: its backend must have let it go before.
            LayoutError: it is no part of this memory.
        """
        region.check_unmapped()
        self._take_out(region)
        region.close()

    def _check_place(self, gpa: int, size_bytes: int, moved: Region | None) -> None:
        if not (isinstance(gpa, int) and isinstance(size_bytes, int)):
            raise LayoutError(f"memory has an address and a number of bytes, not {gpa!r}")
        if gpa % layout.PAGE_SIZE or size_bytes % layout.PAGE_SIZE or size_bytes <= 0 or gpa < 0:
            raise LayoutError(
                f"memory at {gpa:#x} of {size_bytes:#x} bytes is not a number of 4 KiB pages"
            )
        if gpa + size_bytes > layout.RAM_HIGH_BASE + layout.MAX_RAM_SIZE:
            raise LayoutError(
                f"memory at {gpa:#x} of {size_bytes:#x} bytes is beyond the address space"
            )
        for other in self.regions:
            if other is not moved and gpa < other.end and other.gpa < gpa + size_bytes:
                raise LayoutError(
                    f"memory at {gpa:#x}..{gpa + size_bytes:#x} overlaps "
                    f"{other.gpa:#x}..{other.end:#x}"
                )

    def _insert(self, region: Region) -> None:
        index = bisect_right(self._bases, region.gpa)
        self.regions.insert(index, region)
        self._bases.insert(index, region.gpa)
        self.layout += 1

    def _take_out(self, region: Region) -> None:
        if region not in self.regions:
            raise LayoutError(f"the region at {region.gpa:#x} is not of this memory")
        index = self.regions.index(region)
        del self.regions[index], self._bases[index]
        self._latest = None
        self.layout += 1

    @property
    def size_bytes(self) -> int:
        """All regions together."""
        return sum(region.size_bytes for region in self.regions)

    def _find(self, gpa: int, size_bytes: int) -> Region | None:
        """The region that holds the whole access, if one does."""
        region = self._latest  # most accesses are where the one before was
        if region is not None and region.gpa <= gpa and gpa + size_bytes <= region.end > gpa:
            return region
        index = bisect_right(self._bases, gpa) - 1
        if index >= 0:
            region = self.regions[index]
            if gpa + size_bytes <= region.end and (gpa < region.end or size_bytes == 0):
                self._latest = region
                return region
        return None

    def _spans(self, gpa: int, size_bytes: int) -> list[tuple[Region, int, int]]:
        """The access as (region, start, end) in order; checked as a whole before any use."""
        if self._closed:
            raise ClosedError("machine")
        self.is_new = False
        spans, position, end = [], gpa, gpa + size_bytes
        while position < end:
            region = self._find(position, 1)
            if region is None:
                raise MemoryAccessError(gpa, size_bytes)
            stop = min(end, region.end)
            spans.append((region, position - region.gpa, stop - region.gpa))
            position = stop
        return spans

    def _pieces(self, gpa: int, size_bytes: int) -> list[memoryview]:
        """The same as views."""
        return [region.view[start:end] for region, start, end in self._spans(gpa, size_bytes)]

    def region_of(self, gpa: int, size_bytes: int) -> Region | None:
        """The region that holds all of these bytes, if one does."""
        return self._find(gpa, size_bytes)

    def contains(self, gpa: int, size_bytes: int) -> bool:
        """Whether all of these bytes are guest memory."""
        if size_bytes > 0 and self._find(gpa, size_bytes):
            return True
        try:
            self._spans(gpa, size_bytes)
        except MemoryAccessError:
            return False
        return True

    def read(self, gpa: int, size_bytes: int) -> bytes:
        """Copy `size_bytes` bytes out.

        Raises:
            MemoryAccessError: any byte is outside guest memory.
        """
        try:
            if size_bytes < 0:
                raise MemoryAccessError(gpa, size_bytes, "has a negative size")
            region = self._latest  # as in _find, without the cost of a call
            if region is None or gpa < region.gpa or gpa + size_bytes > region.end:
                region = self._find(gpa, size_bytes)
            if region:
                self.is_new = False
                start = gpa - region.gpa
                return bytes(region.view[start : start + size_bytes])
            return b"".join(self._pieces(gpa, size_bytes))
        except _COMPLAINTS as error:
            raise self._refusal(error) from error

    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        """Copy `data` in; regions that are read-only for the guest can be written here.

        Raises:
            MemoryAccessError: any byte is outside guest memory; nothing is written then.
        """
        try:
            if region := self._find(gpa, len(data)) if type(data) is bytes else None:
                self.is_new = False
                start = gpa - region.gpa
                region.view[start : start + len(data)] = data
                if (on_write := region.on_write) is not None:
                    on_write(gpa, len(data))
                return
            view = memoryview(data).cast("B")
            position = 0
            for region, start, end in self._spans(gpa, len(view)):
                region.view[start:end] = view[position : position + end - start]
                region.written(start, end)
                position += end - start
        except _COMPLAINTS as error:
            raise self._refusal(error) from error

    def note_written(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Tell whoever asked of bytes that were written past this accessor.

        Args:
            ranges: address and number of bytes, each in one region.
        """
        for gpa, size_bytes in ranges:
            region = self._latest
            if region is None or gpa < region.gpa or gpa + size_bytes > region.end:
                region = self._find(gpa, size_bytes)
            if region is not None and region.on_write is not None:
                region.on_write(gpa, size_bytes)

    def write_by_device(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        """The same for a device, which writes no more than the guest may.

        Raises:
            MemoryAccessError: any byte is outside guest memory or read-only; nothing is written.
        """
        if not self.is_writable(gpa, len(data)):
            raise MemoryAccessError(gpa, len(data), "is not all memory that may be written")
        self.write(gpa, data)

    def is_writable(self, gpa: int, size_bytes: int) -> bool:
        """Whether all of these bytes are memory that guest and devices may write."""
        if size_bytes > 0 and (region := self._find(gpa, size_bytes)):
            return not region.readonly
        try:
            return not any(region.readonly for region, _, _ in self._spans(gpa, size_bytes))
        except MemoryAccessError:
            return False

    def clear(self, gpa: int, size_bytes: int) -> None:
        """Make `size_bytes` bytes zero; whole pages go back to the host instead of being written.

        Raises:
            MemoryAccessError: any byte is outside guest memory; nothing is cleared then.
        """
        try:
            for region, start, end in self._spans(gpa, size_bytes):
                region.clear(start, end)
                region.written(start, end)
        except _COMPLAINTS as error:
            raise self._refusal(error) from error

    def view(self, gpa: int, size_bytes: int) -> memoryview:
        """The bytes themselves, without a copy; they must lie in one region.

        Raises:
            MemoryAccessError: outside guest memory or across two regions.
        """
        if self._closed:
            raise ClosedError("machine")
        self.is_new = False
        try:
            region = self._find(gpa, size_bytes) if size_bytes >= 0 else None
            if region is None:
                raise MemoryAccessError(
                    gpa, size_bytes, "does not lie in one region of guest memory"
                )
            start = gpa - region.gpa
            return region.view[start : start + size_bytes]
        except _COMPLAINTS as error:
            raise self._refusal(error) from error

    def read_int(self, gpa: int, size_bytes: int) -> int:
        """A little-endian unsigned number of `size_bytes` bytes."""
        return int.from_bytes(self.read(gpa, size_bytes), "little")

    def write_int(self, gpa: int, value: int, size_bytes: int) -> None:
        """Store `value`, truncated to `size_bytes` bytes, little-endian."""
        try:
            data = (value & ((1 << 8 * size_bytes) - 1)).to_bytes(size_bytes, "little")
        except _COMPLAINTS as error:
            raise self._refusal(error) from error
        self.write(gpa, data)

    def __getitem__(self, where: slice | int) -> bytes | int:
        """`memory[gpa]` is a byte, `memory[gpa:end]` bytes."""
        if isinstance(where, slice):
            start, stop = _bounds(where)
            return self.read(start, stop - start)
        return self.read(where, 1)[0]

    def __setitem__(self, where: slice | int, data: bytes | int) -> None:
        """`memory[gpa] = byte`, `memory[gpa:end] = bytes` of that length."""
        if isinstance(where, int):
            if not isinstance(data, int) or not 0 <= data <= 0xFF:
                raise UsageError(f"memory[{where:#x}] takes a byte, 0 to 255, not {data!r}")
            self.write(where, bytes((data,)))
            return
        start, stop = _bounds(where)
        if not isinstance(data, (bytes, bytearray, memoryview)) or len(data) != stop - start:
            raise UsageError(f"memory[{start:#x}:{stop:#x}] takes exactly {stop - start} bytes")
        self.write(start, data)

    def _refusal(self, error: Exception) -> PykvmError:
        """What an access is refused with that came too late, or was none."""
        if self._closed:
            return ClosedError("machine")
        return UsageError(f"memory takes an address, and a number of bytes or bytes: {error}")

    def close(self) -> None:
        """Unmap everything; later accesses raise ClosedError.

        Raises:
            UsageError: the machine still sees a region.
        """
        for region in self.regions:
            region.check_unmapped()
        self.give_back()

    def give_back(self) -> None:
        """The same of a machine that is gone: nobody sees the regions any more."""
        self._closed = True
        for region in tuple(self.regions):
            region.is_mapped = False
            region.close()
        self.regions.clear()
        self._bases.clear()
        self._latest = None
        self.layout += 1


def _bounds(where: slice) -> tuple[int, int]:
    if (
        where.step is not None
        or not isinstance(where.start, int)
        or not isinstance(where.stop, int)
    ):
        raise UsageError("memory takes memory[gpa] or memory[gpa:end]")
    return where.start, max(where.start, where.stop)
