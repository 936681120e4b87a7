"""The table of `bench exits`, a row as it comes, in 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pykvm.bench.exits.row import GROUPS
from pykvm.bench.run import WIDTH, Shown

NAME_WIDTH = 32
_COLUMNS = (
    *((name, 8) for name in ("median", "cycles", "90 %", "99 %", "99.9 %", "max", "MAD")),
    *((name, 6) for name in ("count", "ratio")),
)
_TIMES = ((1e9, " s"), (1e6, " ms"))
_COUNTS = ((1e9, " G"), (1e6, " M"))


def nanoseconds(value: float) -> str:
    """A time in at most 7 columns: plain nanoseconds, or with its unit from a millisecond on."""
    return _scaled(value, _TIMES)


def with_unit(value: float) -> str:
    """The same, always with its unit."""
    shown = nanoseconds(value)
    return shown if shown.endswith("s") else f"{shown} ns"


def cycles(value: float) -> str:
    """The same for cycles; M are millions."""
    return _scaled(value, _COUNTS)


def _scaled(value: float, units: tuple[tuple[float, str], ...]) -> str:
    for size, unit in units:
        if round(abs(value) / size, 3) >= 1:
            return _short(value / size) + unit
    return _short(value)


def _short(value: float) -> str:
    """Three digits, and all of those before the point."""
    digits = next((each for each in (2, 1) if round(abs(value), each) < 10 ** (3 - each)), 0)
    return f"{value:,.{digits}f}"


def ratio(value: float | None) -> str:
    """In at most 6 columns, up to a million; nothing where there is none."""
    if value is None:
        return ""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


class Table:
    """Lines for rows, with a heading wherever another group begins."""

    def __init__(self) -> None:
        self._group: str | None = None

    def head(self) -> str:
        """What the columns are."""
        return f"{'nanoseconds':{NAME_WIDTH}}" + "".join(f"{n:>{w}}" for n, w in _COLUMNS)

    def lines(self, shown: Shown) -> Iterator[str]:
        """A row, and what stands above it."""
        row = shown.as_dict()
        if row["group"] != self._group:
            self._group = row["group"]
            yield ""
            yield GROUPS.get(row["group"], row["group"])
        name = f"  {row['name']}"
        if len(name) > NAME_WIDTH - 1:
            yield name
            name = ""
        if row["measured"]:
            yield f"{name:{NAME_WIDTH}}{_cells(row)}"
            return
        indent = " " * NAME_WIDTH
        yield from textwrap.wrap(
            f"not measured: {row['why']}", WIDTH,
            initial_indent=f"{name:{NAME_WIDTH}}  ", subsequent_indent=f"{indent}  ",
        )  # fmt: skip

    def foot(self, rows: Iterable[Shown]) -> Iterator[str]:
        """What was subtracted from every sample."""
        clocks: dict[str, list[float]] = {}
        yield ""
        for row in (each.as_dict() for each in rows):
            if row["measured"] and row["clock_ns"]:
                clocks.setdefault(row["clock"], []).append(row["clock_ns"])
        for clock, costs in clocks.items():
            low, high = (with_unit(limit(costs)) for limit in (min, max))
            cost = low if low == high else f"{low} to {high}"
            yield f"subtracted for the {clock}'s clock itself: {cost}"


def _cells(row: Mapping[str, Any]) -> str:
    ns = row["ns"]
    texts = (
        nanoseconds(ns["median"]),
        cycles(row["cycles"]["median"]),
        *(nanoseconds(ns[name]) for name in ("p90", "p99", "p999", "maximum", "spread")),
        str(row["count"]),
        ratio(row["ratio"]),
    )
    cells = zip(texts, (width for _, width in _COLUMNS), strict=True)
    return "".join(f"{text:>{width}}" for text, width in cells).rstrip()
