"""What backends have in common: checked arguments, exits handed out, dirty bitmaps."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from types import FunctionType
from typing import Any

from pykvm import layout
from pykvm._native import ffi, lib
from pykvm.backend import exitkeys
from pykvm.backend.types import (
    DR7_CONDITIONS,
    DR7_LENGTHS,
    MAX_HARDWARE,
    HardwareBreakpoint,
    MsrTrap,
)
from pykvm.errors import PykvmError, UsageError
from pykvm.exits import Exit
from pykvm.memory import Region
from pykvm.state import Clock

MAX_CLOCK_NS = 1 << 62  # 146 years, and sums of two still fit in 64 bits
_DR7_FIXED = 1 << 10
_IOEVENTFD_SIZES = (0, 1, 2, 4, 8)
_WORD_PAGES = 64
_TAKING = (
    "add_", "answer", "clear_", "create_", "dirty_log", "enable", "get_msrs", "interrupt", "map",
    "move", "note_write", "remove_", "request_", "set_", "signal_", "trap_", "unmap",
)  # fmt: skip
COMPLAINTS = (
    TypeError, ValueError, OverflowError, AttributeError, KeyError, IndexError, struct.error,
)  # fmt: skip


class Checked:
    """Methods that take values raise UsageError where a type or a size does not fit."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, method in tuple(vars(cls).items()):
            if name.startswith(_TAKING) and isinstance(method, FunctionType):
                setattr(cls, name, _checked(method))


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **named: Any) -> Any:
        try:
            return method(*args, **named)
        except PykvmError:
            raise
        except COMPLAINTS as error:
            raise UsageError(f"{method.__name__}: {error}") from error

    return call


class Running(Checked):
    """The part of a processor that hands out exits and takes answers.

    Attributes:
        entry: the native function that runs to the next exit, and its argument.
        raw: the last exit, a struct pykvm_exit.
    """

    entry: tuple[Callable[[Any], int], Any]
    raw: Any

    def enter(self) -> int:
        """Run to the next exit; its key."""
        run, native = self.entry
        return run(native)

    def answer(self, exit: Exit, value: int | bytes, *, fault: bool = False) -> None:
        """Answer a read exit; delivered at the next entry."""
        exitkeys.answer(self.raw, exit, value, fault)

    def answered(self, exit: Exit) -> int | bytes | None:
        """What the exit has been answered with."""
        return exitkeys.answered(self.raw, exit)

    def _count(self, kind: int) -> int:
        raise NotImplementedError

    def exit_counts(self) -> Mapping[str, int]:
        """Exits by name."""
        counts: dict[str, int] = {}
        for kind, name in exitkeys.NAMES.items():
            if count := self._count(kind):
                counts[name] = counts.get(name, 0) + count
        return counts

    @property
    def assisted(self) -> tuple[int, int]:
        """Nobody helps this one."""
        return 0, 0


def debug_registers(hardware: Sequence[HardwareBreakpoint]) -> list[int]:
    """DR0 to DR7 that watch these addresses.

    Raises:
        UsageError: more than MAX_HARDWARE.
    """
    if len(hardware) > MAX_HARDWARE:
        raise UsageError(f"there are {MAX_HARDWARE} hardware breakpoints, not {len(hardware)}")
    registers = [0] * 7 + [_DR7_FIXED]
    for number, breakpoint in enumerate(hardware):
        condition = DR7_CONDITIONS[breakpoint.condition]
        length = DR7_LENGTHS[breakpoint.size_bytes]
        registers[number] = breakpoint.gva
        registers[7] |= 2 << 2 * number | condition << 16 + 4 * number | length << 18 + 4 * number
    return registers


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
