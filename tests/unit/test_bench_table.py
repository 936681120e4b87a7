"""The table of `bench exits` fits its width, and the progress says how long it still takes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pykvm.bench import contest, cpu, floor, linux, ring
from pykvm.bench.exits import check
from pykvm.bench.progress import Progress
from pykvm.bench.run import WIDTH
from pykvm.bench.table import Table, cycles, nanoseconds

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
    first, second = row("a", 1.0), Fixed({**row("b", 1.0), "clock_ns": 1.5e6})
    assert list(Table().foot([first]))[-1].endswith("clock itself: 60.0 ns")
    assert list(Table().foot([second]))[-1].endswith("clock itself: 1.50 ms")
    assert list(Table().foot([first, second]))[-1].endswith("clock itself: 60.0 ns to 1.50 ms")


def test_times_have_units_where_nanoseconds_would_not_fit() -> None:
    shown = [nanoseconds(each) for each in (0.123, 12.3, 1234.0, 1.5e6, 2.5e8, 1e9)]
    assert shown == ["0.12", "12.3", "1,234", "1.50 ms", "250 ms", "1.00 s"]
    assert cycles(2_600_000) == "2.60 M"


def test_figures_are_rounded_before_their_unit_is_chosen() -> None:
    values = (9.996, 99.96, 999_400.0, 999_999.6, 9.9996e8, 9.996e6, -2e6, -12.3, 1.5e12)
    shown = [nanoseconds(each) for each in values]
    assert shown == [
        "10.0", "100", "999,400", "1.00 ms", "1.00 s", "10.0 ms", "-2.00 ms", "-12.3", "1,500 s",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "contests"),
    [(each.COLUMNS, each.CONTESTS) for each in (cpu, floor, linux, ring)]
    + [(check.COLUMNS, check.contests("kvm"))],
    ids=["cpu", "floor", "linux", "ring", "check"],
)
def test_rows_of_sides_in_turns_line_up_and_fit(
    columns: Sequence[contest.Column], contests: Sequence[contest.Contest]
) -> None:
    table = contest.Table(columns)
    head = table.head()
    assert len(head) <= WIDTH
    note = "a side that is not there, for a reason that takes many words to tell " * 2
    for question in (question for each in contests for question in each.questions):
        values = {each.key: (1 if ".3f" in each.form else 123) / each.scale for each in columns}
        samples = [0.001] if question.better == contest.MORE else [432.1]
        line, *below = table.lines(contest.Row(question, values, samples=samples, note=note))
        assert all(len(each) <= WIDTH for each in (line, *below))
        assert " ".join("".join(below).split()) == note.strip()
        assert line.startswith(f"{question.name} ")
        assert line[head.index("figure") :].startswith(f"{samples[0]:.3f} {question.unit}")
        assert line.endswith("missed") or question.bar is None
        for each in columns:
            assert line[: head.index(each.heading) + len(each.heading)].endswith(each.cell(
                contest.Row(question, values)
            ).strip())  # fmt: skip
        assert all(len(each) <= WIDTH for each in table.lines(contest.Row(question, why=note)))


def test_progress_is_said_once_for_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3) as bar:
        for group in ("floors", "floors", "user"):
            bar.advance(group)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("pykvm: 1 of 3 rows, about ")
