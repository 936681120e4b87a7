"""`pykvm bench cpu`: what it measures runs to its end, and verdicts follow from figures."""

from __future__ import annotations

import pytest

from pykvm.bench import cpu


def test_all_loops_and_the_creation_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "TURNS", 1000)
    rows = cpu.measure(rounds=1)
    loops = [loop.name for loop in cpu.LOOPS]
    assert [row.name for row in rows] == [*loops, "geometric mean", "create, run, close"]
    assert all(row.ours and row.ours > 0 for row in rows if row.name != "geometric mean")


@pytest.mark.parametrize(
    ("unit", "figure", "met"),
    [("M/s", 2.0, True), ("M/s", 1.9, False), ("us", 2.0, True), ("us", 2.1, False)],
)
def test_speeds_have_a_least_and_times_a_most(unit: str, figure: float, met: bool) -> None:
    assert cpu.Row("x", None, 1.0, 1.0, unit, figure, "unicorn", 2.0).met is met
    assert cpu.Row("x", None, 1.0, None, unit).met is None
