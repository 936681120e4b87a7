"""`pykvm bench` as a command: what it lists, writes, and refuses."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from pathlib import Path
from typing import NoReturn

import pytest

from pykvm import cli, host
from pykvm.bench import cpu, exits, page, results, stock
from pykvm.bench.contest import MORE, Contest, Question
from pykvm.bench.document import SCHEMA, read
from pykvm.bench.exits import Result
from pykvm.bench.sampler import Side
from pykvm.cli import STATUS_USAGE
from pykvm.cli.bench import BENCHES, IN_TURNS
from pykvm.errors import KvmUnavailable, PykvmError
from pykvm.result import STATUS_DIED, STATUS_INTERRUPTED

NO_KVM = KvmUnavailable(errno.ENOENT, "/dev/kvm is not here", "load its module")
MEASURING = sorted({*BENCHES} - {"compare"})
QUICK = ("bench", "exits", "--backend", "emu", "--quick", "RDTSC pair")


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a command is refused with."""
    assert cli.main(words) == STATUS_USAGE
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = [each for each in said.err.splitlines() if not each.startswith("pykvm: warning")]
    return line


def replace_contests(
    monkeypatch: pytest.MonkeyPatch, sides: dict[str, Side], count: int = 1
) -> None:
    """Let `bench cpu` have other sides, and questions x, x1 and so on."""
    contests = [
        Contest((Question(f"x{each or ''}", "native", 1.0, MORE),), lambda prepared, stack: sides)
        for each in range(count)
    ]
    monkeypatch.setattr(cpu, "CONTESTS", contests)


def test_without_a_name_it_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(BENCHES)


def test_names_stay_as_they_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    for name, word in (("linux", "QEMU"), ("cpu", "Unicorn"), ("floor", "from C.")):
        with pytest.raises(SystemExit):
            cli.main(["bench", name, "--help"])
        assert word in capsys.readouterr().out


def test_every_bench_writes_the_same_kind_of_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replace_contests(monkeypatch, {"native": lambda: 4.0, "ours": lambda: 8.0})
    assert cli.main(["bench", "cpu", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["format"], found["schema"], found["bench"]) == ("pykvm bench", SCHEMA, "cpu")
    assert found["environment"]["cpu"]["model"]
    assert found["complete"] is True
    assert found["rows"][0]["met"] is True
    assert found["rows"][0]["samples"] == [2.0] * 10
    assert "2.000 x" in said.err
    files = {name: tmp_path / f"cpu.{name}" for name in ("json", "csv")}
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    assert cli.main(["bench", "cpu", "--rounds", "3", *options]) == 0
    assert "2.000 x" in capsys.readouterr().out
    assert read(files["json"])["rows"][0]["count"] == 3
    (row,) = csv.DictReader(io.StringIO(files["csv"].read_text()))
    assert (row["name"], row["native"], row["figure"], row["met"]) == ("x", "4.0", "2.0", "True")


def test_sides_of_one_thread_stay_on_one_processor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Processors of a shared host differ by a third, where neighbours are busy."""
    before, seen = os.sched_getaffinity(0), set[int]()

    def look() -> float:
        cpus = os.sched_getaffinity(0)
        seen.update(cpus)
        return float(len(cpus))

    replace_contests(monkeypatch, {"native": look, "ours": look})
    assert cli.main(["bench", "cpu", "--rounds", "2"]) == 0
    assert seen == {max(before)}
    assert cli.main(["bench", "cpu", "--rounds", "1", "--pin", str(min(before))]) == 0
    assert seen == {max(before), min(before)}
    assert os.sched_getaffinity(0) == before


def test_ctrl_c_keeps_whole_rounds_of_sides_in_turns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = iter([1.0, 1.0, 2.0])

    def ours() -> float:
        for reading in readings:
            return reading
        raise KeyboardInterrupt

    replace_contests(monkeypatch, {"native": lambda: 1.0, "ours": ours}, count=2)
    assert cli.main(["bench", "cpu", "--json"]) == STATUS_INTERRUPTED
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["complete"] is False
    assert [row["samples"] for row in found["rows"]] == [[1.0, 2.0]]
    assert "interrupted: 1 rows measured" in said.err


def test_a_side_that_fails_is_a_note_and_ours_a_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> float:
        raise PykvmError("it broke")

    replace_contests(monkeypatch, {"native": fail, "ours": lambda: 1.0})
    assert cli.main(["bench", "cpu"]) == 0
    assert capsys.readouterr().out.rstrip().endswith(" it broke")
    replace_contests(monkeypatch, {"native": lambda: 1.0, "ours": fail})
    assert cli.main(["bench", "cpu"]) == 0
    assert "not measured: it broke" in capsys.readouterr().out


@pytest.mark.parametrize("name", IN_TURNS)
def test_rows_of_sides_in_turns_are_listed_and_chosen(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", name, "--list"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert cli.main(["bench", name, "--list", names[-1]]) == 0
    assert capsys.readouterr().out.splitlines() == [names[-1]]


def test_rows_are_listed_and_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "exits", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(exits.ROWS)


def test_a_row_is_measured_shown_and_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = [str(tmp_path / name) for name in ("a.json", "a.csv")]
    assert cli.main([*QUICK, "--json", files[0], "--csv", files[1]]) == 0
    assert "RDTSC pair" in capsys.readouterr().out
    found = read(Path(files[0]))
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
    def measured(row, sampler, before):  # type: ignore[no-untyped-def]
        if before:
            raise KeyboardInterrupt
        before[row.name] = Result(row, why="it is a test")
        return before[row.name]

    monkeypatch.setattr(results, "measure", measured)
    path = tmp_path / "a.json"
    words = ["bench", "exits", "--backend", "emu", "--json", str(path)]
    assert cli.main(words) == STATUS_INTERRUPTED
    assert "interrupted: 1 rows measured" in capsys.readouterr().err
    found = read(path)
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
    assert read(path)["complete"] is True


def test_bad_input_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for words in (["CPUID"], ["--quick"], ["--list"]):
        line = refused(capsys, "bench", "exits", "--check", *words)
        assert line == "pykvm: --check takes no rows, and neither --list nor --quick"
    missing = str(tmp_path / "none.json")
    assert "No such file" in refused(capsys, "bench", "compare", missing, missing)
    assert "a file's name is missing" in refused(capsys, "bench", "compare", missing, "")
    assert "invalid choice: 'nonsense'" in refused(capsys, "bench", "nonsense")


@pytest.mark.parametrize("name", MEASURING)
def test_bad_input_is_refused_by_every_bench(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bench = ("bench", name)
    assert "no row is called 'nonsense'; `pykvm bench" in refused(capsys, *bench, "nonsense")
    assert "cannot pin to processor 99999" in refused(capsys, *bench, "--pin", "99999")
    for text in ("x", "9" * 5000):
        line = refused(capsys, *bench, "--pin", text)
        assert "is no processor's number" in line and len(line) < 140
    assert refused(capsys, *bench, "") == "pykvm: a row's name is missing"
    assert f"see pykvm bench {name} --help" in refused(capsys, *bench, "--nonsense")
    assert "cannot both" in refused(capsys, *bench, "--json", "-", "--csv", "-")
    if name in IN_TURNS:
        for text in ("0", "9" * 5000):
            line = refused(capsys, *bench, "--rounds", text)
            assert "is no number of rounds; write 1 to 1,000,000" in line and len(line) < 140
    (tmp_path / "file").touch()
    for option in ("--json", "--csv", "--report"):
        path = str(tmp_path / "file" / "below")
        assert refused(capsys, *bench, option, path).startswith(f"pykvm: cannot write {path}: ")
        assert "a file's name is missing" in refused(capsys, *bench, option, "")


@pytest.mark.parametrize("words", [["floor"], ["exits"], ["exits", "--check"]])
def test_without_kvm_there_is_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*args: object, **options: object) -> NoReturn:
        raise NO_KVM

    monkeypatch.setattr(host, "problem", lambda: NO_KVM)
    monkeypatch.setattr(exits, "Machine", missing)
    assert cli.main(["bench", *words]) == STATUS_DIED
    assert capsys.readouterr() == ("", f"pykvm: {NO_KVM}\n")


def test_without_a_place_for_a_kernel_there_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(stock.shutil, "which", lambda program: program)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cli.main(["bench", "linux"]) == STATUS_DIED
    where = tmp_path / "file/pykvm/stock"
    assert capsys.readouterr() == ("", f"pykvm: cannot make {where}: Not a directory\n")


def test_without_kvm_the_rows_of_a_ring_say_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "problem", lambda: NO_KVM)
    assert cli.main(["bench", "ring", "block 4 KiB, depth 1, kvm"]) == 0
    assert capsys.readouterr().out.endswith(f" not measured: {NO_KVM}\n")
