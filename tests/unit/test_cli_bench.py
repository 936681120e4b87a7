"""`pykvm bench` as a command: what it lists, writes, and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pykvm import cli
from pykvm.bench import cpu, exits, page
from pykvm.bench.document import SCHEMA, read
from pykvm.bench.exits import Result, check
from pykvm.cli import STATUS_USAGE
from pykvm.cli.bench import BENCHES
from pykvm.result import STATUS_INTERRUPTED

QUICK = ("bench", "exits", "--backend", "emu", "--quick", "RDTSC pair")


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a command is refused with."""
    assert cli.main(words) == STATUS_USAGE
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = [each for each in said.err.splitlines() if not each.startswith("pykvm: warning")]
    return line


def test_without_a_name_it_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(BENCHES)


def test_every_bench_writes_the_same_kind_of_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    row = cpu.Row("x", None, 2.0, 1.0, "M/s", 2.0, "unicorn", 1.0)
    monkeypatch.setattr(cpu, "measure", lambda rounds: [row])
    assert cli.main(["bench", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["schema"], found["bench"]) == ("pykvm bench", SCHEMA, "cpu")
    assert found["environment"]["cpu"]["model"]
    assert found["rows"][0]["met"] is True
    assert cli.main(["bench", "cpu", "--json", str(tmp_path / "cpu.json")]) == 0
    assert "2.000 x unicorn" in capsys.readouterr().out
    assert json.loads((tmp_path / "cpu.json").read_text())["bench"] == "cpu"


def test_rows_are_listed_and_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "exits", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(exits.ROWS)


def test_a_row_is_measured_shown_and_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = [str(tmp_path / name) for name in ("a.json", "a.csv")]
    assert cli.main([*QUICK, "--json", files[0], "--csv", files[1]]) == 0
    assert "RDTSC pair" in capsys.readouterr().out
    found = read(Path(files[0]), "exits")
    assert found["complete"] is True
    assert [row["name"] for row in found["rows"]] == ["RDTSC pair"]
    assert found["environment"]["backend"] == "emu"
    assert Path(files[1]).read_text().count("\n") == 2


def test_json_on_stdout_is_alone_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*QUICK, "--json", "-"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["bench"] == "exits"
    assert "RDTSC pair" in said.err


def test_what_was_measured_before_ctrl_c_is_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(rows, sampler, show):  # type: ignore[no-untyped-def]
        show(Result(exits.ROWS[0], why="it is a test"))
        return []  # as `exits.measure` does on Ctrl-C

    monkeypatch.setattr(exits, "measure", interrupted)
    path = tmp_path / "a.json"
    words = ["bench", "exits", "--backend", "emu", "--json", str(path)]
    assert cli.main(words) == STATUS_INTERRUPTED
    assert f"interrupted: 1 of {len(exits.ROWS)} rows" in capsys.readouterr().err
    found = read(path, "exits")
    assert found["complete"] is False
    assert found["rows"][0]["why"] == "it is a test"


def test_without_what_draws_the_table_and_the_json_come_all_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(page, "find_spec", lambda name: None)
    path = tmp_path / "a.json"
    assert cli.main([*QUICK, "--json", str(path), "--report", str(tmp_path / "report")]) == 1
    said = capsys.readouterr()
    assert "RDTSC pair" in said.out
    assert "no report without matplotlib" in said.err
    assert read(path, "exits")["complete"] is True


def test_a_check_has_json_like_every_bench(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "check", lambda sampler: [check.Agreement("x", 9, 9, 1.0, 0.03)])
    assert cli.main(["bench", "exits", "--check", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"][0]["met"] is True
    assert found["environment"]["backend"] == "kvm"


def test_bad_input_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "no row is called 'nonsense'" in refused(capsys, "bench", "exits", "nonsense")
    assert "cannot pin to processor 99999" in refused(capsys, *QUICK, "--pin", "99999")
    assert "invalid int value" in refused(capsys, *QUICK, "--pin", "x")
    assert "cannot both" in refused(capsys, *QUICK, "--json", "-", "--csv", "-")
    assert "--check takes no rows" in refused(capsys, *QUICK, "--check")
    (tmp_path / "file").touch()
    for option in ("--json", "--csv", "--report"):
        path = str(tmp_path / "file" / "below")
        assert refused(capsys, *QUICK, option, path).startswith(f"pykvm: cannot write {path}: ")
    missing = str(tmp_path / "none.json")
    assert "No such file" in refused(capsys, "bench", "compare", missing, missing)
    assert "invalid choice: 'nonsense'" in refused(capsys, "bench", "nonsense")
