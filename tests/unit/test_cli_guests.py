"""`pykvm guests`: what it lists, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pykvm.cli import main

GUESTS = Path(__file__).parents[2] / "guests"


@pytest.fixture
def one_guest(tmp_path: Path) -> Path:
    (tmp_path / "tick.S").write_text(
        "# /// pykvm\n"
        '# mode = "user"\n'
        '# devices = ["exit"]\n'
        "# pit = true\n"
        "# cpus = 2\n"
        '# requires = ["user-int"]\n'
        "#\n"
        "# [expect]\n"
        "# exit_code = 3\n"
        "# ///\n\n"
        "# It ticks. And so on.\n"
    )
    (tmp_path / "notes.inc").write_text("# not a guest\n")
    return tmp_path


def test_a_guest_is_a_line_with_its_machine_and_first_sentence(
    one_guest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["guests", str(one_guest)]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["GUEST", "MODE", "MACHINE"]
    assert (
        " ".join(line.split())
        == f"{one_guest}/tick.S user exit pit cpus=2 It ticks [needs user-int]"
    )


def test_json_holds_the_whole_block(one_guest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guests", str(one_guest), "--json"]) == 0
    (guest,) = json.loads(capsys.readouterr().out)
    assert guest["name"] == "tick"
    assert guest["summary"] == "It ticks. And so on."
    assert guest["requires"] == ["user-int"]
    assert guest["expect"] == {
        "input": None, "output": None, "outcome": None, "exit_code": 3, "exits": None,
    }  # fmt: skip


def test_without_a_directory_it_lists_those_that_come_with_pykvm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["guests", "--json"]) == 0
    listed = {guest["name"] for guest in json.loads(capsys.readouterr().out)}
    assert listed == {path.stem for path in GUESTS.glob("*.S")}


def test_a_directory_without_guests_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["guests", str(tmp_path)]) == 2
    assert "there are no guests" in capsys.readouterr().err


def test_a_block_that_is_not_valid_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.S").write_text("# /// pykvm\n# mood = 1\n# ///\n")
    assert main(["guests", str(tmp_path)]) == 126
    assert "bad.S" in capsys.readouterr().err
