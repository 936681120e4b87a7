"""What the owner of a machine can ask of any backend: breakpoints, MSR traps, interrupt routes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

from pykvm import layout
from pykvm._native import ffi, lib
from pykvm.errors import UsageError
from pykvm.memory import Region
from pykvm.state import Clock

MAX_HARDWARE = 4
MAX_CLOCK_NS = 1 << 62  # 146 years, and sums of two still fit in 64 bits

# DR7, Intel SDM vol. 3B §17.2.4: global enable, condition and length of each address.
_DR7_FIXED = 1 << 10
_DR7_CONDITIONS = {"execute": 0, "write": 1, "access": 3}
_DR7_LENGTHS = {1: 0, 2: 1, 4: 3, 8: 2}

_IOEVENTFD_SIZES = (0, 1, 2, 4, 8)
_PIC_PINS = 8
_WORD_PAGES = 64


@dataclass(frozen=True, slots=True)
class HardwareBreakpoint:
    """An address that the processor watches.

    Attributes:
        gva: guest-virtual address, a multiple of the size.
        condition: "execute", "write", or "access" for reads and writes.
        size_bytes: 1, 2, 4 or 8; 1 for "execute".
    """

    gva: int
    condition: str = "execute"
    size_bytes: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.gva, int):
            raise UsageError(f"a breakpoint stands at an address, not at {self.gva!r}")
        if self.condition not in _DR7_CONDITIONS:
            raise UsageError(
                f"a breakpoint's condition is one of {', '.join(_DR7_CONDITIONS)}, "
                f"not {self.condition!r}"
            )
        if self.size_bytes not in _DR7_LENGTHS or self.gva % self.size_bytes:
            raise UsageError(
                f"a breakpoint watches 1, 2, 4 or 8 aligned bytes, "
                f"not {self.size_bytes} at {self.gva:#x}"
            )
        if self.condition == "execute" and self.size_bytes != 1:
            raise UsageError("a breakpoint on execution has a size of 1")


def debug_registers(hardware: Sequence[HardwareBreakpoint]) -> list[int]:
    """DR0 to DR7 that watch these addresses.

    Raises:
        UsageError: more than MAX_HARDWARE.
    """
    if len(hardware) > MAX_HARDWARE:
        raise UsageError(f"there are {MAX_HARDWARE} hardware breakpoints, not {len(hardware)}")
    registers = [0] * 7 + [_DR7_FIXED]
    for number, breakpoint in enumerate(hardware):
        condition = _DR7_CONDITIONS[breakpoint.condition]
        length = _DR7_LENGTHS[breakpoint.size_bytes]
        registers[number] = breakpoint.gva
        registers[7] |= 2 << 2 * number | condition << 16 + 4 * number | length << 18 + 4 * number
    return registers


class MsrExitReason(IntFlag):
    """Why an access to an MSR exits."""

    INVALID = lib.KVM_MSR_EXIT_REASON_INVAL  # the value would raise #GP
    UNKNOWN = lib.KVM_MSR_EXIT_REASON_UNKNOWN  # the backend does not know the MSR
    FILTER = lib.KVM_MSR_EXIT_REASON_FILTER  # a trap matches


@dataclass(frozen=True, slots=True)
class MsrTrap:
    """MSRs whose reads or writes the backend leaves alone.

    Attributes:
        indices: consecutive MSRs, `range(first, last + 1)`.
        reads, writes: which accesses.
    """

    indices: range
    reads: bool = True
    writes: bool = True


def check_traps(traps: Sequence[MsrTrap]) -> None:
    """Raise what is wrong with them.

    Raises:
        UsageError: too many, or one of too many MSRs.
    """
    if len(traps) > lib.KVM_MSR_FILTER_MAX_RANGES:
        raise UsageError(f"there are {lib.KVM_MSR_FILTER_MAX_RANGES} traps, not {len(traps)}")
    most = lib.KVM_MSR_FILTER_MAX_BITMAP_SIZE * 8
    for trap in traps:
        if trap.indices.step != 1 or not 0 < len(trap.indices) <= most:
            raise UsageError(f"a trap covers 1 to {most} consecutive MSRs, not {trap.indices}")


@dataclass(frozen=True, slots=True)
class PinRoute:
    """A line (GSI) that drives an input of a chip: "pic_master", "pic_slave" or "ioapic"."""

    gsi: int
    chip: str
    pin: int


@dataclass(frozen=True, slots=True)
class MsiRoute:
    """A line (GSI) that sends a message. Source: Intel SDM vol. 3A §10.11."""

    gsi: int
    address: int
    data: int


Route = PinRoute | MsiRoute


def default_routes() -> tuple[Route, ...]:
    """How a full irqchip is wired at first: every line to the I/O APIC, 0 to 15 to a PIC too."""
    ioapic = [PinRoute(gsi, "ioapic", gsi) for gsi in range(lib.KVM_IOAPIC_NUM_PINS)]
    master = [PinRoute(gsi, "pic_master", gsi) for gsi in range(_PIC_PINS)]
    slave = [PinRoute(_PIC_PINS + pin, "pic_slave", pin) for pin in range(_PIC_PINS)]
    return (*ioapic, *master, *slave)


def passed_ns(clock: Clock, now_ns: int) -> int:
    """What a clock shows at this moment of the host's wall clock.

    Raises:
        UsageError: that is no time of a guest.
    """
    ns = clock.ns
    if clock.realtime_ns is not None:
        ns += max(0, now_ns - clock.realtime_ns)
    if not 0 <= ns < MAX_CLOCK_NS:
        raise UsageError(f"a guest's time is 0 to {MAX_CLOCK_NS - 1} ns, not {ns}")
    return ns


def check_ioeventfd(size: int, datamatch: int | None) -> None:
    """Raise what is wrong with the writes that an ioeventfd is to watch.

    Raises:
        UsageError: not a size of an access, or a value of any size.
    """
    if size not in _IOEVENTFD_SIZES or (size == 0 and datamatch is not None):
        raise UsageError(f"an ioeventfd watches 1, 2, 4 or 8 bytes, or 0 for any, not {size}")


# Bitmaps of dirty logs: whole 64-bit words, a bit for each page of a region.


def bitmap_for(region: Region) -> Any:
    """A bitmap of a region's pages, all clear."""
    return ffi.new("uint64_t[]", -(-region.size_bytes // (layout.PAGE_SIZE * _WORD_PAGES)))


def bitmap_of(region: Region, gpas: Iterable[int]) -> Any:
    """The bitmap that has the bits of these addresses' pages.

    Raises:
        UsageError: an address outside the region.
    """
    bitmap = bitmap_for(region)
    for gpa in gpas:
        if not region.gpa <= gpa < region.end:
            raise UsageError(f"page {gpa:#x} is not in {region.gpa:#x}..{region.end:#x}")
        page = (gpa - region.gpa) // layout.PAGE_SIZE
        bitmap[page // _WORD_PAGES] |= 1 << page % _WORD_PAGES
    return bitmap


def pages_in(region: Region, bitmap: Any) -> list[int]:
    """The addresses of the pages whose bits are set, ascending."""
    found = []
    for index, word in enumerate(bitmap):
        while word:
            lowest = word & -word
            page = index * _WORD_PAGES + lowest.bit_length() - 1
            found.append(region.gpa + page * layout.PAGE_SIZE)
            word ^= lowest
    return found
