"""Guest memory that knows which of its bytes a device may touch.

What Python touches is checked to the byte; what C touches without asking, to the page: the pages
of everything else are closed while a device is at work, and a touch ends the process with SIGSEGV.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from pykvm.memory import GuestMemory

# Where what a driver gives away lies. What is in none of these is nobody's business.
QUEUES = range(0x1000, 0x10_0000)
READABLE = range(0x10_0000, 0x14_0000)
WRITABLE = range(0x18_0000, 0x1C_0000)
TABLES = range(0x1D_0000, 0x1E_0000)
LAST = range(0x1F_F000, 0x20_0000)  # writable, and where RAM ends
RAM_END = 0x20_0000
ISLAND = range(RAM_END + 0x10_0000, RAM_END + 0x11_0000)  # nobody's either, behind a hole

ACCESSES_MAX = 300_000  # of a device in answer to one step: more is a loop without end
_PROT_NONE, _PROT_READ, _PROT_WRITE = 0, 1, 2  # mprotect(2)
_CLOSED = (range(QUEUES.start), range(READABLE.stop, WRITABLE.start),
           range(WRITABLE.stop, TABLES.start), range(TABLES.stop, LAST.start), ISLAND)  # fmt: skip
_mprotect = ctypes.CDLL(None, use_errno=True).mprotect
_mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_CONTENT = (bytes(range(1, 252)) * 2000)[: len(READABLE)]


class Trespass(AssertionError):
    """A device touched what it was not given."""


class WatchedMemory(GuestMemory):
    """2 MiB at 0, and 64 KiB behind a hole."""

    def __init__(self, *, content: bool = True) -> None:
        super().__init__()
        self._content = content
        self.add(0, RAM_END)
        self.add(ISLAND.start, len(ISLAND))
        self._watching = False
        self._accesses = 0
        if content:
            self.write(READABLE.start, _CONTENT)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """What is done in here is done by a device."""
        self._watching, self._accesses = True, 0
        for zone in _CLOSED:
            self._protect(zone, _PROT_NONE)
        for zone in (READABLE, TABLES):
            self._protect(zone, _PROT_READ)
        try:
            yield
        finally:
            self._watching = False
            for zone in (range(RAM_END), ISLAND):
                self._protect(zone, _PROT_READ | _PROT_WRITE)

    def _protect(self, zone: range, protection: int) -> None:
        region = self.regions[zone is ISLAND]
        if _mprotect(region.hva + zone.start - region.gpa, len(zone), protection):
            raise OSError(ctypes.get_errno(), "mprotect")

    def _check(self, gpa: int, size_bytes: int, allowed: tuple[range, ...]) -> None:
        if not self._watching or size_bytes == 0 or not self.contains(gpa, size_bytes):
            return
        self._accesses += 1
        if self._accesses > ACCESSES_MAX:
            raise Trespass("it goes on for ever")
        if not any(each.start <= gpa and gpa + size_bytes <= each.stop for each in allowed):
            raise Trespass(f"{size_bytes} bytes at {gpa:#x}")

    def read(self, gpa: int, size_bytes: int) -> bytes:
        self._check(gpa, size_bytes, (QUEUES, READABLE, TABLES))
        return super().read(gpa, size_bytes)

    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        self._check(gpa, len(data), (QUEUES, WRITABLE, LAST))
        super().write(gpa, data)

    def clear(self, gpa: int, size_bytes: int) -> None:
        self._check(gpa, size_bytes, (QUEUES, WRITABLE, LAST))
        super().clear(gpa, size_bytes)

    def view(self, gpa: int, size_bytes: int) -> memoryview:
        self._check(gpa, size_bytes, (QUEUES, READABLE, WRITABLE, LAST))
        view = super().view(gpa, size_bytes)
        return view.toreadonly() if self._watching and gpa in READABLE else view

    def is_intact(self) -> bool:
        """Whether all that no device may write is as it was, except queues and tables."""
        if self._content and super().read(READABLE.start, len(READABLE)) != _CONTENT:
            return False
        read = super().read
        return all(read(zone.start, len(zone)) == bytes(len(zone)) for zone in _CLOSED)
