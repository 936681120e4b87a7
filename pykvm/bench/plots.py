"""Plots of a result of `bench exits`, by matplotlib.

Colours are Okabe and Ito's, which colour-blind people can tell apart; and nothing is told by
colour alone: each series has a marker of its own, so that it survives a black-and-white print.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pykvm.bench.exits.row import GROUPS
from pykvm.bench.figures import percentile
from pykvm.bench.table import with_unit

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7",
)  # fmt: skip
WIDTH_IN = 9.0
LINE_IN = 0.24  # a row's share of a plot's height
DRIFT_POINTS = 20  # of each row
COLUMNS = 4
_BODY = 4  # a histogram reaches so many times as far from the median as the 90th percentile
_WIDE = 30  # a logarithmic axis of less has more ticks than the powers of ten
_LEAST_NS, _CUT = 0.1, 10  # a logarithmic axis shows nothing below, nor below median / 10
_MARKS = (
    ("maximum", "maximum", "x", RED),
    ("p999", "99.9 %", "D", PURPLE),
    ("p99", "99 %", "s", ORANGE),
    ("p90", "90 %", "^", GREEN),
    ("median", "median", "o", BLUE),  # the last is on top
)
_DRIFT_MARKS = tuple(zip("o^sDvPX", (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK), strict=True))

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Plot:
    """One figure.

    Attributes:
        name: of its files.
        title: what it shows.
        figure: matplotlib's.
    """

    name: str
    title: str
    figure: Any


def plots(rows: Sequence[Row]) -> Iterator[Plot]:
    """All that these rows have something to show in; each is to be closed by who takes it."""
    measured = [row for row in rows if row["measured"]]
    for group, meaning in GROUPS.items():
        if of_group := [row for row in measured if row["group"] == group]:
            yield Plot(f"cost-{group}", f"Cost: {meaning}", _costs(of_group))
    if pairs := answered(measured):
        yield Plot("python-native", "Answered natively and by a Python handler", _pairs(pairs))
    for group, meaning in GROUPS.items():
        if of_group := [row for row in measured if row["group"] == group]:
            yield Plot(f"histogram-{group}", f"Histograms: {meaning}", _histograms(of_group))
    if measured:
        yield Plot("drift", "Drift over the run", _drift(measured))


def answered(rows: Sequence[Row]) -> list[tuple[str, Row, Row]]:
    """Operations that both a native answer and a Python handler were measured for."""
    by_name = {row["name"]: row for row in rows}
    return [
        (name.removesuffix(", native"), row, by_name[python])
        for name, row in by_name.items()
        if name.endswith(", native")
        and (python := name.removesuffix(", native") + ", python") in by_name
    ]


def figure(height_in: float) -> tuple[Any, Any]:
    """A drawing of a page's width, and its axes."""
    # Not pyplot: it keeps figures, and picks a window system.
    drawing = import_module("matplotlib.figure").Figure(
        figsize=(WIDTH_IN, height_in), layout="constrained"
    )
    return drawing, drawing.subplots()


def multiples(count: int, columns: int, height_in: float) -> tuple[Any, Sequence[Any]]:
    """A drawing of many small panels, and their axes; a line of them is so high."""
    lines = -(-count // columns)
    drawing = import_module("matplotlib.figure").Figure(
        figsize=(WIDTH_IN, 0.5 + height_in * lines), layout="constrained"
    )
    drawing.get_layout_engine().set(w_pad=0.12)
    panels = drawing.subplots(lines, columns, squeeze=False).flatten()
    for axes in panels[count:]:
        axes.set_axis_off()
    return drawing, panels


def rows_axis(axes: Any, names: Sequence[str]) -> None:
    """Rows from top to bottom against a logarithmic axis of time."""
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xscale("log")
    ticker = import_module("matplotlib.ticker")
    low, high = axes.get_xlim()
    if high < _WIDE * low:
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_major_formatter(formatter(time))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(axis="x", color="0.85", linewidth=0.6)
    axes.grid(axis="y", color="0.93", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)


def formatter(show: Callable[[float], str]) -> Any:
    """Of ticks."""
    return import_module("matplotlib.ticker").FuncFormatter(lambda value, _: show(value))


def time(ns: float) -> str:
    """A tick: 10 ns, 1 us, 100 ms."""
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if ns >= size:
            return f"{ns / size:g} {unit}"
    return f"{ns:g} ns"


def _costs(rows: Sequence[Row]) -> Any:
    drawing, axes = figure(1.1 + LINE_IN * len(rows))
    for place, row in enumerate(rows):
        ns = _above_zero(row)
        axes.plot([ns["minimum"], ns["maximum"]], [place, place], color="0.6", linewidth=0.8)
        axes.plot([ns["minimum"], ns["p90"]], [place, place], color=SKY, linewidth=4, alpha=0.6)
    for key, label, marker, colour in _MARKS:
        values = [_above_zero(row)[key] for row in rows]
        axes.plot(values, range(len(rows)), marker, color=colour, label=label, markersize=5)
    rows_axis(axes, [row["name"] for row in rows])
    axes.set_xlabel(
        "time of one operation; the bar reaches from the minimum, or a tenth of the median, "
        "to the 90th percentile",
        fontsize=8,
    )
    drawing.legend(
        handles=axes.get_legend_handles_labels()[0][::-1],
        loc="outside upper right", ncols=len(_MARKS), frameon=False, fontsize=8,
    )  # fmt: skip
    return drawing


def _above_zero(row: Row) -> dict[str, float]:
    """Figures for a logarithmic axis: what is far below the median, or negative, is cut there."""
    least = max(row["ns"]["median"] / _CUT, _LEAST_NS)
    return {name: max(value, least) for name, value in row["ns"].items()}


def _pairs(pairs: Sequence[tuple[str, Row, Row]]) -> Any:
    drawing, axes = figure(1.1 + LINE_IN * len(pairs))
    medians = [(native["ns"]["median"], python["ns"]["median"]) for _, native, python in pairs]
    for place, (native, python) in enumerate(medians):
        axes.plot([native, python], [place, place], color="0.6", linewidth=1.2)
        axes.annotate(
            _difference(python - native), (max(native, python), place),
            xytext=(8, 0), textcoords="offset points", va="center", fontsize=7.5,
        )  # fmt: skip
    for side, label, marker, colour, fill in (
        (0, "native", "o", BLUE, BLUE), (1, "Python", "^", RED, "none"),
    ):  # fmt: skip
        values = [each[side] for each in medians]
        axes.plot(values, range(len(pairs)), marker, color=colour, label=label, markersize=6,
                  markerfacecolor=fill)  # fmt: skip
    rows_axis(axes, [name for name, _, _ in pairs])
    axes.margins(x=0.12)
    axes.set_xlabel("median time of one operation, and what the Python handler adds", fontsize=9)
    drawing.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=8)
    return drawing


def _difference(ns: float) -> str:
    return f"{'-' if ns < 0 else '+'}{with_unit(abs(ns))}"


def _histograms(rows: Sequence[Row]) -> Any:
    drawing, panels = multiples(len(rows), COLUMNS, 1.45)
    for row, axes in zip(rows, panels, strict=False):
        _histogram(row, axes)
    drawing.supxlabel(
        "time of one operation; dashed: the median; the share of samples beyond the axis is given",
        fontsize=8,
    )
    return drawing


def _histogram(row: Row, axes: Any) -> None:
    ns = row["ns"]
    reach = _BODY * max(ns["p90"] - ns["median"], ns["spread"])
    low, high = ns["minimum"], min(ns["p99"], ns["median"] + reach)
    if high <= low:
        low, high = low - 1, high + 1
    inside = [each for each in row["samples_ns"] if each <= high]
    axes.hist(inside, bins=40, range=(low, high), color=SKY, edgecolor=BLUE, linewidth=0.3)
    axes.axvline(ns["median"], color=RED, linestyle="--", linewidth=1)
    beyond = 100 * (1 - len(inside) / len(row["samples_ns"]))
    axes.set_title(f"{beyond:.0f} %", fontsize=6.5, loc="right")
    axes.set_title(row["name"], fontsize=7, loc="left")
    axes.set_yticks([])
    axes.xaxis.set_major_locator(import_module("matplotlib.ticker").MaxNLocator(3, min_n_ticks=2))
    axes.xaxis.set_major_formatter(formatter(time))
    axes.tick_params(axis="x", labelsize=6.5)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _drift(rows: Sequence[Row]) -> Any:
    drawing, axes = figure(4.2)
    groups = [group for group in GROUPS if any(row["group"] == group for row in rows)]
    for group, (marker, colour) in zip(groups, _DRIFT_MARKS, strict=False):
        points = [point for row in rows if row["group"] == group for point in drift(row)]
        times, changes = zip(*points, strict=True)
        axes.plot(times, changes, marker, color=colour, markersize=3, alpha=0.7,
                  label=GROUPS[group], markeredgewidth=0)  # fmt: skip
    axes.axhline(0, color=BLACK, linewidth=0.6)
    axes.set_yscale("symlog", linthresh=10)
    axes.yaxis.set_major_formatter(formatter(lambda value: f"{value:+g} %" if value else "0"))
    axes.set_xlabel("seconds since the run began", fontsize=9)
    axes.set_ylabel("medians of pieces, against their row's", fontsize=9)
    axes.margins(y=0.08)
    axes.grid(color="0.9", linewidth=0.6)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    drawing.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=8, markerscale=2)
    return drawing


def drift(row: Row) -> list[tuple[float, float]]:
    """When, and by how many percent a piece of a row's samples is off the row's median."""
    samples, median = row["samples_ns"], row["ns"]["median"]
    if median <= 0:
        return [(row["started_s"], 0.0)]
    count = min(DRIFT_POINTS, len(samples))
    points = []
    for piece in range(count):
        part = sorted(samples[len(samples) * piece // count : len(samples) * (piece + 1) // count])
        when_s = row["started_s"] + row["took_s"] * (piece + 0.5) / count
        points.append((when_s, 100 * (percentile(part, 50) / median - 1)))
    return points
