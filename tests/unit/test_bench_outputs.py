"""What a bench leaves behind, however it ends: files that are whole, or as they were before."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pykvm import cli
from pykvm.bench import cpu, environment, files
from pykvm.bench.contest import Contest, Question
from pykvm.bench.document import read
from pykvm.bench.files import Target
from pykvm.cli import STATUS_BROKEN_PIPE, STATUS_USAGE
from pykvm.result import STATUS_DIED, STATUS_INTERRUPTED

PYKVM = [sys.executable, "-c", "import pykvm.cli as c; exit(c.main())"]
EXITS = ["bench", "exits", "--backend", "emu"]
QUICK = [*EXITS, "--quick", "CPUID"]


@pytest.fixture(autouse=True)
def _contest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `bench cpu` take no time."""
    question = Question("x", "native", 1.0)
    sides = {"native": lambda: 1.0, "ours": lambda: 2.0}
    contest = Contest((question,), lambda prepared, stack: sides)
    monkeypatch.setattr(cpu, "CONTESTS", [contest])


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a bench is refused with."""
    assert cli.main(["bench", "cpu", *words]) == STATUS_USAGE
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line.removeprefix("pykvm: ")


def names(directory: Path) -> list[str]:
    """What is in it."""
    return sorted(each.name for each in directory.iterdir())


# What ends a run.


def started(path: Path, **streams: Any) -> subprocess.Popen[bytes]:
    """A run that lasts."""
    return subprocess.Popen([*PYKVM, *EXITS, "--json", str(path)], **streams)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_keep_what_was_measured_however_often_they_come(
    number: signal.Signals, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    with started(path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        while b"system call" not in process.stdout.readline():
            pass
        for _ in range(20):
            process.send_signal(number)
            time.sleep(0.01)
        _, errors = process.communicate(timeout=60)
    assert process.returncode in (128 + number, -number)  # the last comes after Python's own end
    found = read(path)
    assert found["complete"] is False
    words = "interrupted" if number == signal.SIGINT else "ended by SIGTERM"
    rows = len(found["rows"])
    assert errors.splitlines()[-1].decode() == f"pykvm: {words}: {rows} rows measured"
    assert rows >= 1


def test_a_terminal_that_is_gone_takes_no_result_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    user, program = os.openpty()
    with started(path, stdin=program, stdout=program, stderr=program) as process:
        os.close(program)
        said = b""
        while b"system call" not in said:
            said += os.read(user, 4096)
        os.close(user)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) in (128 + signal.SIGHUP, STATUS_DIED)
    assert read(path)["complete"] is False


def test_a_table_that_nobody_takes_loses_no_result(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    read_end, write_end = os.pipe()
    os.close(read_end)
    with Path("/dev/full").open("wb") as full:
        for stdout, status in ((write_end, STATUS_BROKEN_PIPE), (full.fileno(), STATUS_DIED)):
            done = subprocess.run(
                [*PYKVM, *QUICK, "--json", str(path)], stdout=stdout, stderr=subprocess.PIPE,
                timeout=60,
            )  # fmt: skip
            assert done.returncode == status
            assert b"Traceback" not in done.stderr
            assert read(path)["complete"] is False
            path.unlink()
    os.close(write_end)


def test_ctrl_c_after_the_last_row_loses_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(self: environment.Environment) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(environment.Environment, "end", end)
    path = tmp_path / "a.json"
    assert cli.main(["bench", "cpu", "--json", str(path)]) == STATUS_INTERRUPTED
    assert "interrupted: 1 rows measured" in capsys.readouterr().err
    assert len(read(path)["rows"]) == 1


DISTURBED = """
import os, signal, sys
from pykvm import cli
from pykvm.bench import document

as_csv = document.as_csv

def disturbed(rows):
    os.kill(os.getpid(), signal.SIGINT)
    return as_csv(rows)

document.as_csv = disturbed
sys.exit(cli.main())
"""


def test_ctrl_c_while_files_are_written_waits_for_them(tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "a.csv"]
    words = [*QUICK, "--json", str(paths[0]), "--csv", str(paths[1])]
    done = subprocess.run([sys.executable, "-c", DISTURBED, *words], capture_output=True)
    assert done.returncode == STATUS_INTERRUPTED
    assert done.stderr.endswith(b"pykvm: interrupted\n")
    assert read(paths[0])["complete"] is True
    assert paths[1].read_text().startswith("name,")


# What is written.


def test_one_output_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a.json", tmp_path / "a.csv"
    write = Target.write

    def fail(self: Target, text: str) -> None:
        if self.path == first:
            raise OSError(28, "No space left on device", str(first))
        write(self, text)

    monkeypatch.setattr(Target, "write", fail)
    words = ["bench", "cpu", "--json", str(first), "--csv", str(second)]
    assert cli.main(words) == STATUS_USAGE
    assert capsys.readouterr().err.endswith(f"cannot write {first}: No space left on device\n")
    assert second.read_text().startswith("name,")


def test_a_full_disk_leaves_the_file_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_text("before")
    path.chmod(0o640)
    with ExitStack() as stack:
        target = Target(path, stack)
        monkeypatch.setattr(files.os, "fchmod", lambda fd, mode: os.write(-1, b""))
        with pytest.raises(OSError, match=f"Bad file descriptor: '{path}'"):
            target.write("after")
        assert (path.read_text(), names(tmp_path)) == ("before", ["a"])
        monkeypatch.undo()
        target.write("after")
    assert (path.read_text(), names(tmp_path)) == ("after", ["a"])
    assert path.stat().st_mode & 0o777 == 0o640


def test_links_stay_links(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = tmp_path / "link"
    link.symlink_to("a.json")
    refused(capsys, "--json", str(link), "--csv", str(tmp_path / "none" / "a.csv"))
    assert names(tmp_path) == ["link"]
    assert cli.main(["bench", "cpu", "--json", str(link)]) == 0
    assert link.is_symlink()
    assert read(tmp_path / "a.json")["complete"] is True


def test_what_is_no_file_is_written_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert refused(capsys, "--json", str(fifo)) == (
        f"cannot write {fifo}: No such device or address"  # nobody reads it
    )
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_text()))
    reader.start()
    while cli.main(["bench", "cpu", "--json", str(fifo), "--csv", "/dev/null"]):
        time.sleep(0.01)  # until it reads
    reader.join(60)
    assert json.loads(got[0])["complete"] is True
    assert names(tmp_path) == ["fifo"]


def test_a_report_keeps_what_others_have_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "new" / "report"
    assert "cannot pin" in refused(capsys, "--report", str(report), "--pin", "99999")
    assert "none" in refused(capsys, "--report", str(report), "--csv", str(tmp_path / "none/a"))
    assert names(tmp_path) == []
    page = tmp_path / "index.html"
    page.mkdir()
    (tmp_path / ".writable").touch()
    assert refused(capsys, "--report", str(tmp_path)) == f"cannot write {page}: Is a directory"
    assert names(tmp_path) == [".writable", "index.html"]


def test_files_may_be_in_the_report_that_is_not_there_yet(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = tmp_path / "report"
    words = ["bench", "cpu", "--report", str(report), "--json", str(report / "a.json")]
    assert cli.main(words) == 0
    assert {"a.json", files.PAGE, "rounds.png"} <= set(names(report))


def test_no_two_outputs_share_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to(".")
    assert "cannot both be written to a" in refused(capsys, "--json", "link/a", "--csv", "a")
    line = refused(capsys, "--json", "link/index.html", "--report", ".")
    assert line == "link/index.html is the report's own page"
    Path("index.html").symlink_to("b")
    line = refused(capsys, "--csv", "b", "--report", ".")
    assert line == "b is the report's own page"


# Terminals.


@pytest.mark.parametrize("columns", ["", "0"])
def test_a_narrow_terminal_breaks_no_row(columns: str) -> None:
    user, program = os.openpty()
    fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    variables = {"TERM": "xterm", **({"COLUMNS": columns} if columns else {})}
    left = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    said = b""
    with subprocess.Popen(
        [*PYKVM, *QUICK], stdin=program, stdout=program, stderr=program, env=left | variables
    ) as process:
        os.close(program)
        while data := _read(user):
            said += data
    os.close(user)
    assert process.returncode == 0
    lines = said.decode().splitlines()
    assert any(line.endswith(" MAD count ratio") and "nanoseconds  " in line for line in lines)
    assert sum("  CPUID, " in line and line[-1].isdigit() for line in lines) == 4


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except OSError:  # EIO: the other end is closed
        return b""
