"""The table of `bench exits` fits its width, and the progress says how long it still takes."""

from __future__ import annotations

import pytest

from pykvm.bench.progress import Progress
from pykvm.bench.table import WIDTH, Table, cycles, nanoseconds

LARGE = 123456789012.0


class Fixed(dict[str, object]):
    """A row as it is."""

    def as_dict(self) -> dict[str, object]:
        return self


def row(name: str, value: float, ratio: float | None = 1.0) -> Fixed:
    names = ("minimum", "median", "p90", "p99", "p999", "maximum", "spread", "low", "high")
    figures = dict.fromkeys(names, value)
    return Fixed({
        "name": name, "group": "user", "measured": True, "ns": figures, "cycles": figures,
        "ratio": ratio, "count": 20000, "clock": "guest", "clock_ns": 60.0,
    })  # fmt: skip


@pytest.mark.parametrize("value", [0.0, 0.1, 12.34, 999.5, 99999.9, 999999.0, 1e6, 9.9e8, LARGE])
@pytest.mark.parametrize("ratio", [None, 0.0954, 1.5, 23113.0])
def test_no_line_is_wider_than_the_table(value: float, ratio: float | None) -> None:
    table = Table()
    for name in ("CPUID", "a name that is far too long for its own column"):
        lines = list(table.lines(row(name, value, ratio)))
        assert all(len(line) <= WIDTH for line in lines)
        cells = lines[-1].split("  ")
        assert len(table.head()) == WIDTH
        assert "20000" in lines[-1]
        assert cells


def test_a_heading_stands_above_each_group_once() -> None:
    table = Table()
    first, second = (list(table.lines(row(name, 1.0))) for name in ("a", "b"))
    assert first[:2] == ["", "handled in user space"]
    assert len(second) == 1


def test_a_row_that_was_not_measured_says_why_in_lines_that_fit() -> None:
    why = "this host does not come back from it " * 5
    shown = Fixed({"name": "VMCALL", "group": "kernel", "measured": False, "why": why})
    lines = list(Table().lines(shown))
    assert all(len(line) <= WIDTH for line in lines)
    assert "not measured: this host" in lines[2]


def test_the_clocks_cost_is_shown() -> None:
    assert list(Table().foot([row("a", 1.0)]))[-1].endswith("clock itself: 60.0 ns")


def test_times_have_units_where_nanoseconds_would_not_fit() -> None:
    shown = [nanoseconds(each) for each in (0.123, 12.3, 1234.0, 1.5e6, 2.5e8, 1e9)]
    assert shown == ["0.12", "12.3", "1,234", "1.50 ms", "250 ms", "1.00 s"]
    assert cycles(2_600_000) == "2.60 M"


def test_progress_is_said_once_for_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3) as bar:
        for group in ("floors", "floors", "user"):
            bar.advance(group)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("pykvm: 1 of 3 rows, about ")
