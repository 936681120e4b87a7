"""What came of the rows of `bench exits`, for JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pykvm.bench.document import FIGURES
from pykvm.bench.exits import Result

KEPT = 4000  # samples of a row; more would make files that nobody mails
_DIGITS = 6


@dataclass(frozen=True)
class Measured:
    """A row's result, and when it came.

    Attributes:
        started_s, took_s: since the run began, and of the row itself.
        tsc_khz: of the counter that cycles are of.
    """

    result: Result
    started_s: float
    took_s: float
    tsc_khz: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON; docs/measuring.md describes the keys."""
        row = self.result.row
        return {
            "name": row.name,
            "group": row.group,
            "floor": row.floor,
            "exit_reasons": row.reason,
            "started_s": round(self.started_s, 3),
            "took_s": round(self.took_s, 3),
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


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """The figures of rows as JSON has them, a line each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [f"{figure}_{unit}" for unit in ("ns", "cycles") for figure in FIGURES]
    writer.writerow(
        ["name", "group", "floor", "exit_reasons", "count", "ratio", "clock", "clock_ns",
         "tsc_khz", *names, "why"]
    )  # fmt: skip
    for row in rows:
        figures = [row.get(unit, {}).get(figure) for unit in ("ns", "cycles") for figure in FIGURES]
        plain = ("name", "group", "floor", "exit_reasons", "count", "ratio", "clock", "clock_ns")
        writer.writerow([*(row.get(key) for key in (*plain, "tsc_khz")), *figures, row.get("why")])
    return text.getvalue()
