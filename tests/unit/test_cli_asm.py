"""`pykvm asm` and `pykvm disasm`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykvm import cli
from pykvm.cli import disasm

SOURCE = """# /// pykvm
# mode = "real"
# ///
start: mov al, 'A' # a letter
.macro twice
nop; hlt
.endm
twice
.ascii "0123456789"
"""


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    path = tmp_path / "guest.S"
    path.write_text(SOURCE)
    return path


def test_asm_writes_a_binary_and_a_listing(guest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["asm", str(guest), "--listing"]) == 0
    assert guest.with_suffix(".bin").read_bytes() == b"\xb0A\x90\xf40123456789"
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "00007c00  b0 41                    start: mov al, 'A' # a letter",
        "00007c02  90 f4                    nop; hlt",
        '00007c04  30 31 32 33 34 35 36 37  .ascii "0123456789"',
        "          38 39",
    ]
    assert "14 bytes for real mode at 0x7c00" in err


def test_asm_takes_mode_and_address(guest: Path, tmp_path: Path) -> None:
    guest.write_text(SOURCE + "push start\n")
    output = tmp_path / "out"
    args = ["asm", str(guest), "-o", str(output), "--mode", "protected", "--load", "0x123456"]
    assert cli.main(args) == 0
    assert output.read_bytes()[-5:] == b"\x68\x56\x34\x12\0"


def test_disasm_reads_what_asm_wrote(guest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["asm", str(guest)]) == 0
    capsys.readouterr()
    args = ["disasm", str(guest.with_suffix(".bin")), "--mode", "real", "--base", "0x100"]
    assert cli.main(args) == 0
    assert capsys.readouterr().out.splitlines()[:3] == [
        "00000100  b0 41                           mov al, 0x41",
        "00000102  90                              nop",
        "00000103  f4                              hlt",
    ]


@pytest.mark.parametrize(
    ("args", "status", "why"),
    [
        (["asm", "none.S"], 126, "No such file"),
        (["asm", "GUEST", "-o", "none/out"], 126, "No such file"),
        (["asm", "GUEST", "--load", "-1"], 2, "not an address"),
        (["disasm", "none.bin"], 126, "No such file"),
        (["disasm", "GUEST", "--mode", "virtual"], 2, "no mode"),
        (["disasm", "GUEST", "--base", "here"], 2, "not an address"),
        (["disasm", "/dev/zero"], 126, "at most"),
    ],
)
def test_mistakes_are_told(
    args: list[str], status: int, why: str, guest: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(guest.parent)
    monkeypatch.setattr(disasm, "MAX_SIZE", 1 << 20)
    try:
        found = cli.main([str(guest) if each == "GUEST" else each for each in args])
    except SystemExit as end:
        found = int(str(end.code))
    assert found == status
    assert why in capsys.readouterr().err
