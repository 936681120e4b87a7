"""What came of the rows of `bench exits`, for JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pykvm.bench.document import FIGURES
from pykvm.bench.exits import Result, measure
from pykvm.bench.exits.guest import GuestSampler
from pykvm.bench.exits.row import Row

KEPT = 4000  # samples of a row; more would make files that nobody mails
_DIGITS = 6


@dataclass(frozen=True)
class Measured:
    """A row's result.

    Attributes:
        tsc_khz: of the counter that cycles are of.
    """

    result: Result
    tsc_khz: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON; docs/measuring.md describes the keys."""
        return self._found

    @cached_property
    def _found(self) -> dict[str, Any]:
        row = self.result.row
        return {
            "name": row.name,
            "group": row.group,
            "floor": row.floor,
            "exit_reasons": row.reason,
            **self._outcome(),
        }

    def _outcome(self) -> dict[str, Any]:
        samples, figures = self.result.samples, self.result.figures
        if samples is None or figures is None:
            return {"measured": False, "why": self.result.why}
        khz = samples.tsc_khz or self.tsc_khz
        figures_ns = {name: getattr(figures, name) for name in FIGURES}
        step = -(-len(samples.values_ns) // KEPT)
        return {
            "measured": True,
            "count": figures.count,
            "ratio": None if self.result.ratio is None else _rounded(self.result.ratio),
            "ns": {name: _rounded(value) for name, value in figures_ns.items()},
            "cycles": {name: _rounded(value * khz / 1e6) for name, value in figures_ns.items()},
            "clock": samples.clock,
            "clock_ns": _rounded(samples.clock_ns),
            "tsc_khz": khz,
            "samples_step": step,
            "samples_ns": [_rounded(value) for value in samples.values_ns[::step]],
        }


def _rounded(value: float) -> float:
    """To more digits than any clock has."""
    return float(f"{value:.{_DIGITS}g}")


def taker(sampler: GuestSampler, khz: int) -> Callable[[Row], Iterator[Measured]]:
    """Measures rows, one after the other."""
    before: dict[str, Result] = {}

    def take(row: Row) -> Iterator[Measured]:
        yield Measured(measure(row, sampler, before), khz)

    return take
