"""Plots of a result whose subjects took turns: what each side read, and the figures by round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from pykvm.bench.plots import (
    BLACK,
    BLUE,
    GREEN,
    LINE_IN,
    ORANGE,
    PURPLE,
    RED,
    Plot,
    Row,
    figure,
    formatter,
    multiples,
    rows_axis,
    time,
)  # fmt: skip

COLUMNS = 3
_BODY = 8  # an axis reaches so many times the spread from the median
_MARKS = tuple(zip("o^sD", (BLUE, RED, ORANGE, PURPLE), strict=True))


def plots(rows: Sequence[Row]) -> Iterator[Plot]:
    """All that these rows have something to show in; each is to be closed by who takes it."""
    measured = [row for row in rows if row["measured"]]
    sides = list(dict.fromkeys(name for row in measured for name in row["sides"]))
    for unit in dict.fromkeys(row["sides_unit"] for row in measured):
        if of_unit := [row for row in measured if row["sides_unit"] == unit and row["sides"]]:
            name = "sides-" + "".join(each for each in unit if each.isalnum())
            yield Plot(name, f"Sides: {_MEANING.get(unit, unit)}", _sides(of_unit, sides))
    if compared := [row for row in measured if row["samples"]]:
        yield Plot("rounds", "Figures, round by round", _rounds(compared))


_MEANING = {
    "ns": "time of one operation", "us": "microseconds", "s": "seconds", "MiB": "memory in MiB",
    "M/s": "million instructions per second", "/s": "requests per second",
}  # fmt: skip


def side_name(key: str) -> str:
    """As people call it."""
    name = key.removesuffix("_ns")
    return {"ours": "pykvm", "qemu": "QEMU", "unicorn": "Unicorn"}.get(name, name)


def _sides(rows: Sequence[Row], sides: Sequence[str]) -> Any:
    drawing, axes = figure(1.1 + LINE_IN * len(rows) * 1.6)
    for (marker, colour), (number, side) in zip(_MARKS, enumerate(sides), strict=False):
        shift = 0.22 * (number - (len(sides) - 1) / 2)
        if not (places := [place for place, row in enumerate(rows) if row["sides"].get(side)]):
            continue
        for place in places:
            values = rows[place]["sides"][side]
            axes.plot([min(values), max(values)], [place + shift] * 2, color=colour, linewidth=1)
        axes.plot([rows[place][side] for place in places], [place + shift for place in places],
                  marker, color=colour, label=side_name(side), markersize=6)  # fmt: skip
    rows_axis(axes, [row["name"] for row in rows])
    axes.xaxis.set_major_formatter(
        formatter(time if rows[0]["sides_unit"] == "ns" else lambda value: f"{value:,g}")
    )
    unit = rows[0]["sides_unit"]
    axes.set_xlabel(
        f"{_MEANING.get(unit, unit)}: the median of the rounds; "
        "the line reaches from the least to the most",
        fontsize=9,
    )
    drawing.legend(loc="outside upper right", ncols=len(sides), frameon=False, fontsize=8)
    return drawing


def _rounds(rows: Sequence[Row]) -> Any:
    drawing, panels = multiples(len(rows), COLUMNS, 1.9)
    for row, axes in zip(rows, panels, strict=False):
        _rounds_of(row, axes)
    drawing.supxlabel(
        "round; the line is the median, dashed what the bar allows at most or least; "
        "triangles are beyond the axis",
        fontsize=8,
    )
    return drawing


def _rounds_of(row: Row, axes: Any) -> None:
    low, high = _reach(row)
    for number, sample in enumerate(row["samples"], 1):
        shown = min(max(sample, low), high)
        marker = "o" if shown == sample else "^" if sample > high else "v"
        axes.plot(number, shown, marker, color=BLUE if marker == "o" else ORANGE, markersize=3)
    axes.axhline(row["figure"], color=BLACK, linewidth=0.8)
    for bar in _bars(row):
        axes.axhline(bar, color=RED, linestyle="--", linewidth=1)
    axes.set_title(row["name"], fontsize=7.5, loc="left")
    verdict = {True: "met", False: "missed", None: ""}[row["met"]]
    colour = GREEN if row["met"] else RED
    axes.set_title(verdict, fontsize=7.5, loc="right", color=colour)
    axes.set_ylabel(row["unit"], fontsize=7)
    axes.tick_params(labelsize=6.5)
    axes.set_xlim(0.5, len(row["samples"]) + 0.5)
    ticker = import_module("matplotlib.ticker")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.margins(y=0.12)
    axes.grid(color="0.93", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _reach(row: Row) -> tuple[float, float]:
    """How far the axis goes: as far as most samples, and as the bar."""
    middle, far = row["figure"], _BODY * row["spread"]
    low, high = max(middle - far, min(row["samples"])), min(middle + far, max(row["samples"]))
    return min(low, *_bars(row), high), max(high, *_bars(row), low)


def _bars(row: Mapping[str, Any]) -> list[float]:
    """Where the bar's lines are."""
    if row["bar"] is None:
        return []
    if row["better"] == "same":
        return [1 - row["bar"], 1 + row["bar"]]
    return [row["bar"]]
