"""`pykvm bench cpu`: what it measures runs to its end."""

from __future__ import annotations

import pytest

from pykvm.bench import cpu
from pykvm.bench.contest import Row, taker


def test_all_loops_and_the_creation_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "TURNS", 1000)
    with cpu.prepare() as prepared:
        take = taker(prepared, 1)
        rows = [row for contest in cpu.CONTESTS for row in take(contest)]
    loops = [loop.name for loop in cpu.LOOPS]
    names = [*loops, cpu.MEAN, "create, run, close"]
    assert [row.question.name for row in rows] == names
    assert all(row.values["ours"] > 0 for row in rows if row.question.name != cpu.MEAN)


def test_a_side_that_is_not_there_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "TURNS", 1000)
    take = taker(cpu.Prepared(None, None), 1)
    rows = {row.question.name: row for contest in cpu.CONTESTS for row in take(contest)}
    assert rows["alu"].note == f"{cpu.NO_NATIVE}; {cpu.NO_UNICORN}"
    assert rows["create, run, close"].note == cpu.NO_UNICORN
    mean = rows[cpu.MEAN]
    assert (mean.figure, mean.why, cpu.NO_UNICORN in mean.note) == (None, "", True)


def test_the_mean_is_of_the_loops_ratios_round_by_round() -> None:
    contests = {each.group: each for each in cpu.CONTESTS}

    def row(name: str, ours: list[float]) -> Row:
        (question,) = contests[name].questions
        return Row(question, sides={"ours": ours, "unicorn": [1.0, 2.0]})

    loops = [
        row("alu", [4.0, 2.0]), row("mem", [1.0, 2.0]), row("mem, 2 MiB apart", [9, 9]),
        row("call", [2.0, 4.0]), row("sse", [2.0, 1.0]),
    ]  # fmt: skip
    (mean,) = cpu.Mean().measure(None, 2, loops)
    assert mean.samples == [2.0, 1.0]
    assert mean.met is True
    (nothing,) = cpu.Mean().measure(None, 2, loops[1:4])
    assert nothing.why == "its loops were not: alu, sse"
