"""A result's report: a page that needs no network, and its plots as files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pykvm.bench import plots_turns
from pykvm.bench.exits.row import GROUPS
from pykvm.bench.files import PAGE, replace
from pykvm.bench.plots import Plot, plots
from pykvm.bench.table import cycles, nanoseconds, ratio
from pykvm.errors import PykvmError

DPI = 130

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  color: #111; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: 0.82rem; }
td, th { padding: 0.15rem 0.55rem; text-align: right; border-bottom: 1px solid #ddd;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
td:first-child, th:first-child, .text { text-align: left; }
small { display: block; color: #555; font-size: 0.85em; white-space: normal; }
.text { white-space: normal; overflow-wrap: anywhere; }
tr.group th { text-align: left; padding-top: 0.9rem; border-bottom: 2px solid #0072b2; }
.warning { border-left: 4px solid #d55e00; padding: 0.1rem 0.8rem; margin: 0.4rem 0; }
.scroll { overflow-x: auto; }
figure { margin: 1rem 0; break-inside: avoid; } figure svg { width: 100%; height: auto; }
figcaption { font-weight: 600; }
@page { size: A4; margin: 12mm; }
@page wide { size: A4 landscape; margin: 12mm; }
@media print { .scroll { overflow: visible; } .wide { page: wide; }
  figure svg { max-height: 255mm; } h2, tr.group { break-after: avoid; }
  body { margin: 0; max-width: none; font-size: 10pt; }
  table { font-size: 7pt; } td, th { padding: 0.1rem 0.25rem; } tr { break-inside: avoid; } }
"""


_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # it names places elsewhere
# Browsers fetch nothing for the page, whatever is in it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class NoPlots(PykvmError):
    """What draws is not installed."""


def require() -> None:
    """Find out whether a report can be made.

    Raises:
        NoPlots: it cannot.
    """
    if find_spec("matplotlib") is None:
        raise NoPlots("no report without matplotlib: pip install 'pykvm-hv[bench]'")


def write_report(directory: Path, found: Mapping[str, Any]) -> None:
    """A page and, beside it, its plots as PNG and SVG.

    Args:
        found: a result as `document.document` makes it.

    Raises:
        NoPlots: matplotlib is missing.
        OSError: the directory cannot be written.
    """
    require()
    figures = []
    matplotlib: Any = import_module("matplotlib")
    with matplotlib.rc_context({"svg.hashsalt": "pykvm", "font.family": "DejaVu Sans"}):
        for plot in (plots if _is_of_exits(found) else plots_turns.plots)(found["rows"]):
            pixels, text = io.BytesIO(), io.StringIO()
            plot.figure.savefig(pixels, format="png", dpi=DPI)
            plot.figure.savefig(text, format="svg", metadata=_NO_METADATA)
            replace(directory / f"{plot.name}.png", pixels.getvalue())
            replace(directory / f"{plot.name}.svg", text.getvalue().encode())
            figures.append(_inline(plot, text.getvalue()))
    replace(directory / PAGE, page(found, figures).encode())


def page(found: Mapping[str, Any], figures: Sequence[str]) -> str:
    """The page's text."""
    environment = found["environment"]
    of_exits = _is_of_exits(found)
    what = "VM exits" if of_exits else f"pykvm bench {found['bench']}"
    title = f"{what} on {environment['cpu']['model']}, {environment['time'][:10]}"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{_STYLE}</style></head><body>",
            f'<div class="scroll{" wide" if of_exits else ""}"><h1>{escape(title)}</h1>',
            f"<p>{escape(_summary(found))}</p>",
            *(f'<p class="warning">{escape(each)}</p>' for each in environment["warnings"]),
            "<h2>Figures</h2><table>",
            *(_table if of_exits else _turns_table)(found["rows"]),
            "</table></div>",
            f"<p>{_ABOUT_EXITS if of_exits else _ABOUT_TURNS}</p>",
            "<h2>Plots</h2>",
            *figures,
            "<h2>Environment</h2>",
            "<table>",
            *_environment(environment),
            "</table></body></html>\n",
        ]
    )


_ABOUT_EXITS = (
    "Nanoseconds where no unit is given. The interval is the median's, at 95 %; MAD is the median "
    "absolute deviation; the ratio is to the row's floor. What the clock itself takes is "
    "subtracted from each sample."
)
_ABOUT_TURNS = (
    "Sides took turns. What is given of each is its median over the rounds; the figure is the "
    "median of the rounds' own, with its interval at 95 %."
)


def _is_of_exits(found: Mapping[str, Any]) -> bool:
    return bool(found["bench"] == "exits")


def _summary(found: Mapping[str, Any]) -> str:
    environment = found["environment"]
    measured = sum(row["measured"] for row in found["rows"])
    kind = environment["host"]["kind"]
    where = f"a host of kind {kind} ({environment['host']['meaning']})" if kind else "no KVM host"
    rounds = found.get("rounds")
    run = f"{rounds} rounds" if rounds else "Quick run" if found["quick"] else "Full run"
    backend = f" of backend {environment['backend']}" if environment["backend"] else ""
    return (
        f"{run}{backend} on {where}, kernel {environment['kernel']}, {environment['time']}: "
        f"{measured} of {len(found['rows'])} rows measured in {found['took_s']:.0f} s"
        f"{'' if found['complete'] else ', interrupted'}."
    )


_HEADS = (
    "", "median", "interval", "cycles", "minimum", "90 %", "99 %", "99.9 %", "maximum", "MAD",
    "count", "ratio",
)  # fmt: skip


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"<thead><tr>{''.join(f'<th>{head}</th>' for head in _HEADS)}</tr></thead><tbody>"
    group = None
    for row in rows:
        if row["group"] != group:
            group = row["group"]
            heading = escape(GROUPS.get(group, group))
            yield f'<tr class="group"><th colspan="{len(_HEADS)}">{heading}</th></tr>'
        reasons = f"<small>{escape(row['exit_reasons'])}</small>"
        yield f"<tr><td>{escape(row['name'])} {reasons}</td>{_cells(row)}</tr>"
    yield "</tbody>"


def _cells(row: Mapping[str, Any]) -> str:
    if not row["measured"]:
        why = escape(row["why"])
        return f'<td class="text" colspan="{len(_HEADS) - 1}">not measured: {why}</td>'
    ns = {name: nanoseconds(value) for name, value in row["ns"].items()}
    texts = (
        ns["median"], f"{ns['low']} to {ns['high']}", cycles(row["cycles"]["median"]),
        ns["minimum"], ns["p90"], ns["p99"], ns["p999"], ns["maximum"], ns["spread"],
        f"{row['count']:,}", ratio(row["ratio"]),
    )  # fmt: skip
    return "".join(f"<td>{text}</td>" for text in texts)


def _turns_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    sides = dict.fromkeys(name for row in rows for name in row.get("sides", ()))
    details = dict.fromkeys(name for row in rows for name in row.get("details", ()))
    heads = (
        "", *map(plots_turns.side_name, sides), *details, "figure", "interval", "bar", "", "rounds",
    )  # fmt: skip
    yield f"<thead><tr>{''.join(f'<th>{escape(head)}</th>' for head in heads)}</tr></thead><tbody>"
    for row in rows:
        note = escape(row.get("note", ""))
        name = f"<td>{escape(row['name'])} <small>{note}</small></td>"
        if not row["measured"]:
            why = f"not measured: {escape(row['why'])}"
            yield f'<tr>{name}<td class="text" colspan="{len(heads) - 1}">{why}</td></tr>'
            continue
        texts = (*_side_cells(row, sides, details), *_figure_cells(row))
        yield f"<tr>{name}{''.join(f'<td>{escape(text)}</td>' for text in texts)}</tr>"
    yield "</tbody>"


def _side_cells(
    row: Mapping[str, Any], sides: Iterable[str], details: Iterable[str]
) -> Iterator[str]:
    unit = row["sides_unit"]
    for name in sides:
        value = row.get(name)
        if value is None:
            yield ""
        else:
            yield nanoseconds(value) if unit == "ns" else f"{_plainly(value)} {unit}"
    for name in details:
        value = row["details"].get(name)
        yield "" if value is None else _plainly(value)


def _plainly(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _figure_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["figure"] is None:
        return ("", "", "", "", "")
    bar = "" if row["bar"] is None else f"{_BARS[row['better']]} {row['bar']:g}"
    return (
        f"{row['figure']:.3f} {row['unit']}", f"{row['low']:.3f} to {row['high']:.3f}", bar,
        {True: "met", False: "missed", None: ""}[row["met"]], f"{row['count']}",
    )  # fmt: skip


_BARS = {"less": "at most", "more": "at least", "same": "1 within"}


def _environment(record: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in record.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            yield from _environment(value, f"{name} / ")
        elif name != "warnings":
            yield f'<tr><td>{escape(name)}</td><td class="text">{escape(_plain(value))}</td></tr>'


def _plain(value: Any) -> str:
    """A value of the record in words."""
    match value:
        case Mapping():
            return " ".join(f"{key}={each}" for key, each in value.items())
        case list() | tuple():
            return ", ".join(_plain(each) for each in value)
        case bool():
            return "yes" if value else "no"
        case None | "":
            return "unknown"
    return str(value)


_IDS = re.compile(r'(\bid="|url\(#|href="#)')
_SIZE = re.compile(r' (?:width|height)="[^"]*"')


def _inline(plot: Plot, svg: str) -> str:
    """An SVG for the page: its ids are its own, since a page has many, and its size is CSS's."""
    body = _IDS.sub(lambda found: f"{found[1]}{plot.name}-", svg[svg.index("<svg") :])
    head, end, rest = body.removeprefix("<svg").partition(">")
    title = escape(plot.title)
    head = f'<svg role="img" aria-label="{title}"{_SIZE.sub("", head)}'
    return f"<figure><figcaption>{title}</figcaption>{head}{end}{rest}</figure>"
