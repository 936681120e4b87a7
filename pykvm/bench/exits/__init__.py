"""`pykvm bench exits`: what leaving a guest costs, by every way of leaving it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pykvm import layout
from pykvm.bench.exits import avoided, floors, interrupts, kernel, life, memory, modes, user
from pykvm.bench.exits.guest import GuestSampler
from pykvm.bench.exits.row import Row
from pykvm.bench.figures import Figures
from pykvm.bench.run import chosen
from pykvm.bench.sampler import QUICK, Samples, watchdog, why_not
from pykvm.errors import PykvmError
from pykvm.machine import Machine

ROWS: tuple[Row, ...] = (
    *floors.ROWS,
    *kernel.ROWS,
    *interrupts.ROWS,
    *user.ROWS,
    *avoided.ROWS,
    *memory.ROWS,
    *life.ROWS,
    *modes.ROWS,
)


@dataclass(frozen=True)
class Result:
    """What came of a row: samples, or why there are none.

    Attributes:
        figures: of the samples, in nanoseconds.
        ratio: of the median to that of the row's floor, where both were measured.
    """

    row: Row
    samples: Samples | None = None
    figures: Figures | None = None
    ratio: float | None = None
    why: str = ""


def select(patterns: Sequence[str]) -> tuple[Row, ...]:
    """The rows whose name or group has one of these texts in it; all of them without any.

    Raises:
        UsageError: one of the texts is in none.
    """
    names, groups = zip(*((row.name, row.group) for row in ROWS), strict=True)
    found = chosen("exits", names, patterns, groups)
    return tuple(row for row in ROWS if row.name in found)


def counter_khz(backend: str) -> int:
    """How fast a guest's time-stamp counter runs.

    Raises:
        KvmUnavailable: there is no KVM here.
    """
    with Machine(memory=layout.MIN_RAM_SIZE, backend=backend, devices=()) as machine:
        return machine.vcpu.get_tsc_khz()


def measure(row: Row, sampler: GuestSampler, before: dict[str, Result]) -> Result:
    """Measure one row, and note it among those before, one of which may be its floor."""
    before[row.name] = result = _measured(row, sampler, before)
    return result


def _measured(row: Row, sampler: GuestSampler, before: dict[str, Result]) -> Result:
    try:
        with watchdog():
            samples = row.measure(sampler)
    except (PykvmError, OSError, MemoryError) as error:
        return Result(row, why=why_not(error))
    figures = Figures.of(samples.values_ns)
    floor_ns = _floor_ns(row.floor, sampler, before)
    return Result(row, samples, figures, figures.median / floor_ns if floor_ns else None)


def _floor_ns(name: str, sampler: GuestSampler, before: dict[str, Result]) -> float:
    """The median of a row that others are compared with; 0 where there is none.

    Where it is not among those asked for, it is measured quickly, and once.
    """
    if not name:
        return 0
    kept = sampler.kept
    if name not in before and name not in kept:
        quick = replace(sampler, effort=min(sampler.effort, QUICK, key=lambda each: each.samples))
        kept[name] = _measured(next(row for row in ROWS if row.name == name), quick, {})
    floor: Result = before[name] if name in before else kept[name]
    return 0 if floor.figures is None else max(0, floor.figures.median)
