"""The report: a page that needs nothing else, and its plots; what draws may be missing."""

from __future__ import annotations

import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pykvm.bench import exits, page
from pykvm.bench.document import document
from pykvm.bench.environment import Environment
from pykvm.bench.exits.row import Row
from pykvm.bench.figures import Figures
from pykvm.bench.plots import DRIFT_POINTS, answered, drift
from pykvm.bench.results import Measured
from pykvm.bench.sampler import Samples

VOID = {"meta", "link", "br"}


def row(name: str, group: str, median_ns: float | None, started_s: float = 0.0) -> dict[str, Any]:
    of = Row(name, group, lambda sampler: Samples([], "guest", 0, 0), "", "VMX 10 <CPUID>")
    times = {"started_s": started_s, "took_s": 0.5}
    if median_ns is None:
        return {**times, **Measured(exits.Result(of, why="no <way> back"), 1).as_dict()}
    source = random.Random(name)
    values = [median_ns * source.lognormvariate(0, 0.02) for _ in range(200)]
    samples = Samples(values, "guest", 60.0, 2_600_000)
    result = exits.Result(of, samples, Figures.of(values), 1.0)
    return {**times, **Measured(result, 1).as_dict()}


ROWS = (
    row("RDTSC pair", "floors", 0.0),
    row("CPUID", "kernel", 1200.0, 0.5),
    row("hypercall", "kernel", None, 1.0),
    row("port out 1 B, native", "user", 8000.0, 1.1),
    row("port out 1 B, python", "user", 8500.0, 1.6),
    row("create", "life", 350_000.0, 2.1),
)


def found(rows: tuple[dict[str, Any], ...] = ROWS) -> dict[str, Any]:
    more = {"complete": True, "quick": True, "took_s": 2.6}
    return document("exits", Environment("kvm"), rows, **more)


class Checker(HTMLParser):
    """Every tag is closed where it should be, and each id is there once."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href"):
                self.addresses.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    return checker


def test_a_report_is_a_page_and_its_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page.write_report(tmp_path, found())
    names = {path.name for path in tmp_path.iterdir()}
    groups = ("floors", "kernel", "user", "life")
    by_group = {f"{kind}-{group}" for kind in ("cost", "histogram") for group in groups}
    plots = {"python-native", "drift"} | by_group
    assert names == {f"{plot}.{kind}" for plot in plots for kind in ("png", "svg")} | {page.PAGE}
    text = (tmp_path / page.PAGE).read_text()
    checker = checked(text)
    assert len(checker.ids) == len(set(checker.ids))
    assert all(address.startswith("#") for address in checker.addresses)  # no network
    assert {address[1:] for address in checker.addresses} <= set(checker.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(checker.ids)
    assert "@import" not in text
    assert text.count("<svg") == len(plots)


def test_a_page_tells_every_row_and_escapes_what_it_tells() -> None:
    text = page.page(found(), [])
    checked(text)
    assert all(each["name"] in text for each in ROWS)
    assert "not measured: no &lt;way&gt; back" in text
    assert "VMX 10 &lt;CPUID&gt;" in text
    assert "Quick run of backend kvm" in text


def test_nothing_measured_is_still_a_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page.write_report(tmp_path, found((row("hypercall", "kernel", None),)))
    assert {path.name for path in tmp_path.iterdir()} == {page.PAGE}


def test_without_what_draws_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "find_spec", lambda name: None)
    with pytest.raises(page.NoPlots, match=r"without matplotlib: pip install 'pykvm-hv\[bench\]"):
        page.write_report(tmp_path, found())


def test_native_and_python_answers_are_paired() -> None:
    ((name, native, python),) = answered([each for each in ROWS if each["measured"]])
    assert name == "port out 1 B"
    assert (native["name"], python["name"]) == ("port out 1 B, native", "port out 1 B, python")


def test_drift_is_against_the_rows_median_and_within_its_time() -> None:
    slower = {**ROWS[1], "samples_ns": [100.0] * 100 + [110.0] * 100, "ns": {"median": 100.0}}
    points = drift(slower)
    assert len(points) == DRIFT_POINTS
    assert [round(change) for _, change in points] == [0] * 10 + [10] * 10
    assert all(0.5 <= when <= 1.0 for when, _ in points)
