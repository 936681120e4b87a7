"""`bench compare`: it finds what changed, and nothing between equals."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from pykvm import cli
from pykvm.bench import exits
from pykvm.bench.compare import SAMPLES_MIN, Change, Series, change, compare
from pykvm.bench.contest import Question, Row
from pykvm.bench.document import document, dumps
from pykvm.bench.environment import Environment
from pykvm.bench.exits.row import Row as ExitRow
from pykvm.bench.figures import Figures
from pykvm.bench.results import Measured
from pykvm.bench.sampler import Samples
from pykvm.errors import UsageError

REPETITIONS = 100
ROWS = 20
BATCHES, BATCH = 10, 60  # of a whole row; a half has half the batches
TICK_NS = 0.385


def samples(source: random.Random, typical_ns: float) -> list[float]:
    """One row's as they come from a shared machine: alike in turn, by batch, and with a long tail.

    Deviations follow each other (half of each is the one before), every batch has an offset of
    its own, one sample in fifty meets something far longer, and the clock has steps.
    """
    values = []
    deviation = 0.0
    for _ in range(BATCHES):
        offset = source.gauss(0, 0.003)
        for _ in range(BATCH):
            deviation = 0.5 * deviation + source.gauss(0, 0.025)
            value = typical_ns * (1 + deviation + offset)
            if source.random() < 0.02:
                value *= 1 + source.paretovariate(1.2)
            values.append(round(value / TICK_NS) * TICK_NS)
    return values


def row(values_ns: list[float], name: str = "an exit") -> dict[str, Any]:
    of = ExitRow(name, "user", lambda sampler: Samples([], "guest", 0, 0))
    found = Samples(values_ns, "guest", 60.0, 2_600_000)
    return Measured(exits.Result(of, found, Figures.of(values_ns)), 1).as_dict()


def compared(before: dict[str, Any], after: dict[str, Any], rows: int = 1) -> Change:
    first, second = Series.of(before), Series.of(after)
    assert first is not None and second is not None
    return change(after["name"], first, second, rows)


def halves(source: random.Random) -> list[Change]:
    """The two halves of each row of a run, compared."""
    changes = []
    for _ in range(ROWS):
        values = samples(source, 10 ** source.uniform(2, 4.5))
        middle = len(values) // 2
        changes.append(compared(row(values[:middle]), row(values[middle:]), ROWS))
    return changes


def test_two_halves_of_a_run_differ_in_no_row_in_95_of_100() -> None:
    clean = sum(
        not any(each.changed for each in halves(random.Random(seed))) for seed in range(REPETITIONS)
    )
    assert clean >= 95


def test_a_row_that_takes_5_percent_longer_is_found() -> None:
    source = random.Random(1)
    found = 0
    for _ in range(REPETITIONS):
        before, after = samples(source, 7000), samples(source, 7000)
        each = compared(row(before), row([1.05 * value for value in after]), ROWS)
        found += each.changed and 3 < each.percent < 7
    assert found >= 95


def test_a_step_of_the_clock_is_no_change() -> None:
    before, after = [100.0, 100.5] * 50, [100.5, 100.0, 100.5] * 34
    assert not compared(row(before), row(after)).changed


def test_constant_rows_change_by_what_they_change() -> None:
    each = compared(row([100.0] * 50), row([110.0] * 50))
    assert (each.changed, each.percent) == (True, 10.0)
    assert not compared(row([100.0] * 50), row([100.0] * 50)).changed
    assert not compared(row([0.0] * 50), row([0.0] * 50)).changed


def test_too_few_samples_tell_nothing() -> None:
    few = SAMPLES_MIN - 1
    assert not compared(row([100.0] * few), row([200.0] * few)).changed


def test_drift_within_a_run_widens_what_counts() -> None:
    source = random.Random(2)
    steady = [100 + source.gauss(0, 1) for _ in range(400)]
    drifting = [value + 10 * place / 400 for place, value in enumerate(steady)]
    later = [value + 6 for value in steady]
    assert compared(row(steady), row(later)).changed
    assert not compared(row(drifting), row(later)).changed


# Whole results, and the command.


def result(*rows: dict[str, Any], backend: str = "kvm") -> dict[str, Any]:
    return document("exits", Environment(backend), rows, complete=True)


A, B, SLOW_B = (row(values, name) for name, values in (
    ("a", [100.0, 101.0] * 50), ("b", [200.0, 201.0] * 50), ("b", [220.0, 221.0] * 50)
))  # fmt: skip
UNMEASURED = {"name": "c", "group": "user", "measured": False, "why": "not here"}


def written(path: Path, found: dict[str, Any]) -> str:
    path.write_text(dumps(found))
    return str(path)


def test_rows_that_one_has_are_named() -> None:
    found = compare(result(A, B, UNMEASURED), result(A))
    assert [each.name for each in found.changes] == ["a"]
    assert (found.only_first, found.only_second) == (("b",), ())


def test_backends_are_not_compared() -> None:
    with pytest.raises(UsageError, match="backend kvm cannot be compared with emu"):
        compare(result(A), result(A, backend="emu"))


def test_the_command_tells_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = written(tmp_path / "a.json", result(A, B, UNMEASURED))
    after = written(tmp_path / "b.json", result(A, SLOW_B, UNMEASURED))
    assert cli.main(["bench", "compare", before, after]) == 0
    said = capsys.readouterr().out
    assert "+10.0 %" in said
    assert said.endswith("1 of 2 rows changed\n")
    assert cli.main(["bench", "compare", before, after, "--fail-above", "5"]) == 1
    assert "worse by more than 5 %: 1" in capsys.readouterr().err
    assert cli.main(["bench", "compare", before, after, "--fail-above", "20"]) == 0
    assert cli.main(["bench", "compare", after, before, "--fail-above", "5"]) == 0  # faster


def turned(name: str, samples: list[float], better: str, of: str = "theirs") -> dict[str, Any]:
    question = Question(name, of, 1.0, better)
    return Row(question, {"ours": 1.0}, samples=samples if of else []).as_dict()


@pytest.mark.parametrize(
    ("better", "before", "after", "mark"),
    [("less", 1.0, 1.2, "worse"), ("less", 1.2, 1.0, "better"), ("more", 1.0, 1.2, "better"),
     ("more", 1.2, 1.0, "worse"), ("same", 1.0, 0.9, "worse"), ("same", 0.9, 1.0, "better")],
)  # fmt: skip
def test_figures_of_sides_in_turns_are_compared(
    better: str, before: float, after: float, mark: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    files = []
    for number, figure in enumerate((before, after)):
        rows = [turned("a", [figure] * 15, better), turned("b", [1.0, figure], better),
                turned("c", [], better, of="")]  # fmt: skip
        found = document("floor", Environment(), rows, complete=True)
        files.append(written(tmp_path / f"{number}.json", found))
    status = cli.main(["bench", "compare", *files, "--fail-above", "5"])
    said = capsys.readouterr()
    assert status == (mark == "worse")
    assert said.out.splitlines()[1].endswith(f"  {mark}")
    assert said.out.endswith("1 of 2 rows changed\n")
    assert "1 rows have fewer than 10 samples" in said.err


def test_rows_of_different_units_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for better in ("less", "more"):
        found = document("floor", Environment(), [turned("a", [1.0] * 15, better)])
        files.append(written(tmp_path / f"{better}.json", found))
    assert cli.main(["bench", "compare", *files]) == 2
    line = "a: x, less is better, cannot be compared with x, more is better"
    assert capsys.readouterr() == ("", f"pykvm: {line}\n")


def test_benches_are_not_compared_with_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exits_result = written(tmp_path / "a.json", result(A))
    floor = written(tmp_path / "b.json", document("floor", Environment(), []))
    assert cli.main(["bench", "compare", exits_result, floor]) == 2
    assert "`bench exits` cannot be compared with `bench floor`" in capsys.readouterr().err


def test_equals_do_not_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "a.json", result(A, B))
    assert cli.main(["bench", "compare", path, path, "--fail-above", "0", "--all"]) == 0
    assert capsys.readouterr().out.endswith("0 of 2 rows changed\n")


def test_machines_of_different_kinds_are_compared_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = result(A)
    there = copy.deepcopy(here)
    there["environment"]["cpu"]["model"] = "Another\nmodel"
    paths = [written(tmp_path / "a.json", here), written(tmp_path / "b.json", there)]
    assert cli.main(["bench", "compare", *paths]) == 2
    said = capsys.readouterr().err
    assert "of different kinds; processor: " in said
    assert said.count("\n") == 1
    assert cli.main(["bench", "compare", *paths, "--anyway"]) == 0
    assert "warning: different processor" in capsys.readouterr().err


@pytest.mark.parametrize("percent", ["x", "-1", "nan", "inf"])
def test_what_is_no_percentage_is_named(
    percent: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = written(tmp_path / "a.json", result(A))
    assert cli.main(["bench", "compare", path, path, f"--fail-above={percent}"]) == 2
    assert "is no percentage" in capsys.readouterr().err


def test_other_versions_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**result(A), "schema": 1}))
    assert cli.main(["bench", "compare", str(path), str(path)]) == 2
    assert "has schema 1, this pykvm reads 3; measure again" in capsys.readouterr().err
