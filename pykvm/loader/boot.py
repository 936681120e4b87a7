"""What a machine gives a kernel that it boots, whatever protocol the kernel is booted by."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from pykvm import layout
from pykvm.errors import LoadError, UsageError
from pykvm.loader.image import Image
from pykvm.loader.memory_map import MapEntry


@dataclass(frozen=True)
class Module:
    """A file that a multiboot kernel finds in memory.

    Attributes:
        text: what the kernel is told of it: its name, and arguments behind that.
        data: its bytes.
    """

    text: str
    data: bytes


class Placed(NamedTuple):
    """A module's bytes, where they lie, and its text."""

    gpa: int
    data: bytes
    text: bytes


@dataclass(frozen=True)
class Boot:
    """What a machine gives its kernel.

    Attributes:
        memory_map: the RAM there is.
        command_line: without the closing NUL; it lies at layout.COMMAND_LINE_BASE.
        initrd: the initial RAM disk; empty for none.
        modules: what a multiboot kernel finds besides.
        tables: (gpa, bytes) that describe the machine, those of ACPI from their root on first.
    """

    memory_map: Sequence[MapEntry]
    command_line: bytes = b""
    initrd: bytes = b""
    modules: Sequence[Module] = ()
    tables: Sequence[tuple[int, bytes]] = ()

    @property
    def rsdp(self) -> int:
        """Guest-physical address of the ACPI tables' root; 0 where there are none."""
        return self.tables[0][0] if self.tables else 0

    def initrd_base(self, kernel_end: int, last: int, name: str) -> int:
        """The highest page at which the RAM disk fits, in RAM behind the kernel.

        Args:
            kernel_end: first address behind what the kernel needs for itself.
            last: the highest address that a byte of it may have.

        Raises:
            LoadError: there is no room.
        """
        if not self.initrd:
            return 0
        for entry in reversed(self.memory_map):
            end = min(entry.base + entry.size_bytes, last + 1, layout.RAM_HOLE_BASE)
            base = (end - len(self.initrd)) // layout.PAGE_SIZE * layout.PAGE_SIZE
            if entry.usable and base >= max(entry.base, kernel_end):
                return base
        needed_mib = -(-(kernel_end + len(self.initrd) + layout.PAGE_SIZE) // layout.MIB)
        raise LoadError(
            name,
            f"the initrd of {len(self.initrd)} bytes does not fit behind the kernel, below "
            f"{last + 1:#x}; --memory {needed_mib}M is the least that could hold it",
        )

    def place_modules(self, image: Image) -> list[Placed]:
        """Modules on pages of their own behind the kernel, above 1 MiB, in the order given.

        Raises:
            LoadError: there is no room.
        """
        placed = []
        gpa = _next_page(max(image.end, layout.HIGH_BASE))
        for module in self.modules:
            if not self._is_usable(gpa, len(module.data)):
                needed_mib = -(-(gpa + sum(len(each.data) for each in self.modules)) // layout.MIB)
                raise LoadError(
                    module.text,
                    f"a module of {len(module.data)} bytes does not fit at {gpa:#x}, behind the "
                    f"kernel; --memory {needed_mib + 1}M would hold it",
                )
            placed.append(Placed(gpa, module.data, encode(module.text)))
            gpa = _next_page(gpa + len(module.data))
        return placed

    def _is_usable(self, gpa: int, size_bytes: int) -> bool:
        return any(
            each.usable
            and each.base <= gpa
            and gpa + size_bytes <= min(each.base + each.size_bytes, layout.RAM_HOLE_BASE)
            for each in self.memory_map
        )


def encode(text: str) -> bytes:
    """A text as its bytes in argv, and a NUL.

    Raises:
        UsageError: it has none.
    """
    try:
        return text.encode(errors="surrogateescape") + b"\0"
    except UnicodeEncodeError:
        raise UsageError(f"a command line is text, not {text!r}") from None


def _next_page(gpa: int) -> int:
    return -(-gpa // layout.PAGE_SIZE) * layout.PAGE_SIZE


@cache
def bios_data(*serial_ports: int) -> bytes:
    """The words of the BIOS data area that tell of the machine, for layout.BIOS_DATA_BASE.

    Kernels that were born under a BIOS compute addresses from two of them: where the extended area
    is (0x40e), and how many KiB of RAM there are below it (0x413).
    """
    data = bytearray(0x15)
    struct.pack_into(f"<{len(serial_ports)}H", data, 0, *serial_ports)
    equipment = len(serial_ports) << 9 | 1 << 1  # bit 1: a floating-point unit
    struct.pack_into("<HH", data, 0x0E, layout.EBDA_BASE >> 4, equipment)
    struct.pack_into("<H", data, 0x13, layout.EBDA_BASE >> 10)
    return bytes(data)
