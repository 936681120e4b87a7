"""`pykvm bench exits`: what leaving a guest costs, by every way of leaving it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from pykvm.bench.exits import avoided, floors, interrupts, kernel, life, memory, modes, user
from pykvm.bench.exits.row import Row
from pykvm.bench.exits.sampler import QUICK, Sampler, Samples
from pykvm.bench.figures import Figures
from pykvm.errors import PykvmError, UsageError

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


def select(patterns: Iterable[str]) -> tuple[Row, ...]:
    """The rows whose name or group has one of these texts in it; all of them without any.

    Raises:
        UsageError: one of the texts is in none.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        found = {row.name for row in ROWS if pattern in row.name or pattern == row.group}
        if not found:
            raise UsageError(f"no row is called {pattern!r}; `pykvm bench exits --list` has them")
        chosen |= found
    return tuple(row for row in ROWS if row.name in chosen or not patterns)


def measure(rows: Iterable[Row], sampler: Sampler, show: Callable[[Result], None]) -> list[Result]:
    """Measure one row after the other; each is shown as it comes.

    Ctrl-C ends it early: what was measured is returned.
    """
    results: dict[str, Result] = {}
    try:
        for row in rows:
            results[row.name] = result = _measured(row, sampler, results)
            show(result)
    except KeyboardInterrupt:
        pass
    return list(results.values())


def _measured(row: Row, sampler: Sampler, before: dict[str, Result]) -> Result:
    try:
        samples = row.measure(sampler)
    except (PykvmError, OSError, MemoryError) as error:
        return Result(row, why=str(error) or "the host is out of memory")
    figures = Figures.of(samples.values_ns)
    floor_ns = _floor_ns(row.floor, sampler, before)
    return Result(row, samples, figures, figures.median / floor_ns if floor_ns else None)


def _floor_ns(name: str, sampler: Sampler, before: dict[str, Result]) -> float:
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
