"""The report: a page that needs nothing else, and its plots; what draws may be missing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.results import EXIT_ROWS, exit_row, exits_result, turns_result

from pykvm.bench import page, plots_turns
from pykvm.bench.files import PAGE
from pykvm.bench.plots import DRIFT_POINTS, answered, drift, plots

VOID = {"meta", "link", "br"}


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
    page.write_report(tmp_path, exits_result())
    names = {path.name for path in tmp_path.iterdir()}
    groups = ("floors", "kernel", "user", "life")
    by_group = {f"{kind}-{group}" for kind in ("cost", "histogram") for group in groups}
    plots = {"python-native", "drift"} | by_group
    assert names == {f"{plot}.{kind}" for plot in plots for kind in ("png", "svg")} | {PAGE}
    text = (tmp_path / PAGE).read_text()
    checker = checked(text)
    assert len(checker.ids) == len(set(checker.ids))
    assert all(address.startswith("#") for address in checker.addresses)  # no network
    assert {address[1:] for address in checker.addresses} <= set(checker.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(checker.ids)
    assert "@import" not in text
    elsewhere = re.sub(r'xmlns(?::\w+)?="[^"]*"', "", text)  # names of SVG, not addresses
    assert "://" not in elsewhere
    assert text.count("<svg") == len(plots)


def test_sides_in_turns_have_a_report_of_their_own(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page.write_report(tmp_path, turns_result())
    plots = {"sides-ns", "sides-Ms", "rounds"}
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{plot}.{kind}" for plot in plots for kind in ("png", "svg")} | {PAGE}
    text = (tmp_path / PAGE).read_text()
    checked(text)
    for told in (
        "pykvm bench floor on", "15 rounds on", "a &lt;note&gt; of some length", "at most 1.25",
        "1.220 x unicorn", "not measured: no &lt;way&gt; back",
    ):  # fmt: skip
        assert told in text


def test_axes_have_whole_rounds_and_units() -> None:
    pytest.importorskip("matplotlib")
    rows = turns_result()["rows"]
    found = {each.name: each.figure for each in plots_turns.plots(rows)}
    assert "million instructions per second" in found["sides-Ms"].axes[0].get_xlabel()
    for count in (1, 2, 15):
        for row in rows:
            row["samples"] = row.get("samples", [])[:count]
        (drawing,) = [each.figure for each in plots_turns.plots(rows) if each.name == "rounds"]
        axes = drawing.axes[0]
        low, high = axes.get_xlim()
        ticks = [each for each in axes.get_xticks() if low <= each <= high]
        assert ticks and all(each == int(each) for each in ticks)


def test_a_bar_that_is_cut_is_said_to_be() -> None:
    pytest.importorskip("matplotlib")
    first = next(plots(exits_result()["rows"]))
    assert "or a tenth of the median" in first.figure.axes[0].get_xlabel()


def test_a_page_tells_every_row_and_escapes_what_it_tells() -> None:
    text = page.page(exits_result(), [])
    checked(text)
    assert all(each["name"] in text for each in EXIT_ROWS)
    assert "not measured: no &lt;way&gt; back" in text
    assert "VMX 10 &lt;CPUID&gt;" in text
    assert "Quick run of backend kvm" in text


def test_nothing_measured_is_still_a_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page.write_report(tmp_path, exits_result((exit_row("hypercall", "kernel", None),)))
    assert {path.name for path in tmp_path.iterdir()} == {PAGE}


def test_without_what_draws_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "find_spec", lambda name: None)
    with pytest.raises(page.NoPlots, match=r"without matplotlib: pip install 'pykvm-hv\[bench\]"):
        page.write_report(tmp_path, exits_result())


def test_native_and_python_answers_are_paired() -> None:
    ((name, native, python),) = answered([each for each in EXIT_ROWS if each["measured"]])
    assert name == "port out 1 B"
    assert (native["name"], python["name"]) == ("port out 1 B, native", "port out 1 B, python")


def test_drift_is_against_the_rows_median_and_within_its_time() -> None:
    slower = {**EXIT_ROWS[1], "samples_ns": [100.0] * 100 + [110.0] * 100, "ns": {"median": 100.0}}
    points = drift(slower)
    assert len(points) == DRIFT_POINTS
    assert [round(change) for _, change in points] == [0] * 10 + [10] * 10
    assert all(0.5 <= when <= 1.0 for when, _ in points)
