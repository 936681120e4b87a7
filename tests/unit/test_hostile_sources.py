"""Sources and heads of strangers: each ends in an error soon, and sees no file but its own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pykvm import cli
from pykvm.asm import assemble
from pykvm.assembly import keystone_process
from pykvm.errors import AssemblyError, HeaderError, LoadError, PykvmError
from pykvm.guest import load_guest, parse_guest

MOST_CPU_S = (
    10  # of this process; each takes 1 s or less, and took minutes or for ever without bounds
)

GREEDY = {
    "a string that never ends": ('.ascii "' + '\\"' * 100_000, "cannot read '\"'"),
    "many different instructions": (
        ".rept 9000\nmov rax, [rbx + rcx * 8 + \\+]\n.endr",
        "different instructions at most",
    ),
    "many statements": (".rept 45000\nmov rax, [rbx]\n.endr", "statements at most"),
    "many statements in one line": ("nop;" * 250_000, "statements at most"),
    "many labels in one line": ("".join(f"a{i}: " for i in range(700)) + "a1:", "already"),
    "a long line": ("nop " + "1+" * 3000, "characters long at most"),
    "many fills": (".rept 9000\n.fill 1 << 24, 8\n.endr", "16 MiB"),
    "many ends of fills": ("x:\n.rept 9000\n.org x + (1 << 24) + 1\n.endr", "forward"),
    "many alignments": (".byte 1\n.rept 4000\n.balign 1 << 24\n.byte 1\n.endr", "16 MiB"),
    "skipped blocks": (
        ".macro m\n.if 0\n.rept 9\n" + "x\n" * 9000 + ".endr\n.endif\n.endm\n.rept 9000\nm\n.endr",
        "2 MiB of text",
    ),
    "long arguments": (
        ".macro m a\n.endm\n.rept 9000\nm " + "\\\\a" + '\\"' * 2000 + "\n.endr",
        "cannot read|MiB of text",
    ),
    "growing lines": (
        ".macro m a\n.rept 1\n.if 0\n" + "\\a" * 2000 + "\n.endif\n.endr\n.endm\nm " + "x" * 4000,
        "characters long at most",
    ),
    "many parameters": (
        ".macro m " + ",".join(f"a{i}=" for i in range(300)) + "\n.endm\n.rept 9000\nm\n.endr",
        "64 parameters",
    ),
    "many names that nobody defines": (
        "".join(f"n{i:05}{'a' * 20}: jmp x{i:05}{'a' * 20}\n" for i in range(9000)),
        "nothing is called",
    ),
    "long names that nobody defines": (
        "".join(f"{'a' * 2000}{i}: nop\n" for i in range(400)) + "jmp " + "a" * 2001,
        "nothing is called",
    ),
    "values that never settle": (
        "x = y + 1\ny = z + 1\nz = x + 1\n" + ".rept 9000\n.long x, y, z\n.endr",
        "depends on itself",
    ),
    "prefixes without end": ("rep " * 1000 + "movsb", "15 bytes"),
}


@pytest.mark.parametrize("what", GREEDY)
def test_a_source_is_refused_that_has(what: str) -> None:
    source, why = GREEDY[what]
    started = time.process_time()
    with pytest.raises(AssemblyError, match=why) as caught:
        assemble(source, name="x.S")
    assert caught.value.line
    assert len(str(caught.value)) < 500
    assert time.process_time() - started < MOST_CPU_S


HEADS = {
    "a key of many parts": ("a" + ".a" * 4000 + " = 1", "8 KiB|deep"),
    "a key of even more parts": ("a" + ".a" * 20_000 + " = 1", "8 KiB"),
    "deep arrays": ("a = " + "[" * 4000, "deep"),
    "deep arrays that end": ("a = " + "[" * 300 + "]" * 300, "no such key|deep"),
    "deep tables": ("a = " + "{a = " * 1500, "deep"),
    "a number of 5,000 digits": ("cpus = " + "9" * 5000, "64 bits"),
    "a number of 4,000 digits": ("load = " + "9" * 4000, "64 bits"),
    "a hexadecimal one": ("timeout = 0x" + "f" * 5000, "64 bits"),
    "one inside a list": ("devices = [0x" + "f" * 5000 + "]", "64 bits"),
    "one inside a text": ('memory = "' + "9" * 4299 + 'G"', "not a size"),
    "a long text": ('mode = "' + "a" * 8000 + '"', "no mode"),
}


@pytest.mark.parametrize("what", HEADS)
def test_a_head_is_refused_that_has(what: str) -> None:
    toml, why = HEADS[what]
    started = time.process_time()
    with pytest.raises(HeaderError, match=why) as caught:
        parse_guest(f"# /// pykvm\n# {toml}\n# ///\nhlt\n", Path("x.S"))
    assert len(str(caught.value)) < 600 or "there are append" in str(caught.value)
    assert time.process_time() - started < MOST_CPU_S


# Files.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """guest/ with a secret beside it, and ways to get there."""
    (tmp_path / "secret.inc").write_text("secret words\n")
    folder = tmp_path / "guest"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "up.inc").write_text('.include "../own.inc"\n')
    (folder / "own.inc").write_text("nop\n")
    (folder / "link.inc").symlink_to("../secret.inc")
    (folder / "out").symlink_to("..")
    (folder / "loop.inc").symlink_to("loop.inc")
    os.mkfifo(folder / "fifo")
    return folder


@pytest.mark.parametrize(
    "name",
    ["../secret.inc", "link.inc", "out/secret.inc", "sub/../../secret.inc", "/proc/self/environ",
     "{}/../secret.inc"],
)  # fmt: skip
def test_includes_stay_below_the_guests_folder(folder: Path, name: str) -> None:
    source = f'.include "{name.format(folder)}"'
    with pytest.raises(AssemblyError, match="outside the guest's folder; --include-dir") as caught:
        assemble(source, include_dir=folder)
    assert "secret words" not in str(caught.value)
    (folder / "guest.S").write_text(source)
    with pytest.raises(AssemblyError, match="outside the guest's folder"):
        load_guest(folder / "guest.S").image()


@pytest.mark.parametrize(
    ("name", "why"),
    [("fifo", "regular file"), ("sub", "regular file"), ("loop.inc", "symbolic links|outside"),
     ("none.inc", "No such file"), ("a\\x00b", "null"), ("sub/../none.inc", "No such file")],
)  # fmt: skip
def test_what_is_included_is_a_file(folder: Path, name: str, why: str) -> None:
    with pytest.raises(AssemblyError, match=why):
        assemble(f'.include "{name}"', include_dir=folder)


def test_a_folder_more_can_be_allowed(folder: Path) -> None:
    assert assemble('.include "sub/up.inc"', include_dir=folder).code == b"\x90"
    (folder.parent / "secret.inc").write_text("hlt\n")
    (folder.parent / "more").mkdir()
    (folder.parent / "more" / "more.inc").write_text("int3\n")
    for name, code in (("../secret.inc", b"\xf4"), ("link.inc", b"\xf4"), ("more.inc", b"\xcc")):
        (folder / "guest.S").write_text(f'.include "{name}"\n')
        dirs = [folder.parent, folder.parent / "more"]
        assert load_guest(folder / "guest.S", dirs).image().code == code
    args = [str(folder / "guest.S"), "--include-dir", str(folder.parent / "more")]
    assert cli.main(["asm", *args]) == 0
    assert (folder / "guest.bin").read_bytes() == b"\xcc"


def test_the_same_file_again_and_again_ends(folder: Path) -> None:
    with pytest.raises(AssemblyError, match="256 files at most"):
        assemble('.rept 9000\n.include "own.inc"\n.endr', include_dir=folder)
    (folder / "own.inc").write_text("# nothing\n" * 50_000)
    with pytest.raises(AssemblyError, match="2 MiB of text"):
        assemble('.rept 9000\n.include "own.inc"\n.endr', include_dir=folder)


@pytest.mark.parametrize("command", ["run", "asm", "disasm", "guests"])
def test_a_pipe_for_a_file_makes_nobody_wait(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "guest.S")
    path = tmp_path if command == "guests" else tmp_path / "guest.S"
    assert cli.main([command, str(path)]) == 126
    assert "guest.S: is not a regular file" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--kernel", "--initrd"])
def test_a_pipe_for_a_kernel_makes_nobody_wait(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    args = [option, str(tmp_path / "pipe")] + ["--kernel", __file__] * (option == "--initrd")
    assert cli.main(["run", *args]) == 126
    assert "pipe: is not a regular file" in capsys.readouterr().err


def test_a_file_that_claims_to_be_empty_is_empty() -> None:
    """Such as /proc/kmsg, of which a read may wait for ever."""
    with pytest.raises(LoadError, match=r"empty|not permitted|denied"):
        load_empty("/proc/kmsg")
    with pytest.raises(LoadError, match="empty"):
        load_empty("/proc/self/status")


def load_empty(path: str) -> None:
    from pykvm.loader import read_image

    read_image(path)


# What is written.


def test_asm_writes_through_no_link_and_not_over_its_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guest, victim = tmp_path / "guest.S", tmp_path / "victim"
    guest.write_text("hlt\n")
    victim.write_text("precious")
    (tmp_path / "guest.bin").symlink_to(victim)
    assert cli.main(["asm", str(guest)]) == 126
    assert "guest.bin: is a link" in capsys.readouterr().err
    assert cli.main(["asm", str(guest), "-o", str(guest)]) == 126
    assert "is the source" in capsys.readouterr().err
    assert (victim.read_text(), guest.read_text()) == ("precious", "hlt\n")


def test_asm_replaces_what_it_made(tmp_path: Path) -> None:
    guest, binary = tmp_path / "guest.S", tmp_path / "guest.bin"
    guest.write_text("hlt\n")
    binary.write_bytes(b"old")
    os.link(binary, tmp_path / "other")
    assert cli.main(["asm", str(guest)]) == 0
    assert (binary.read_bytes(), (tmp_path / "other").read_bytes()) == (b"\xf4", b"old")
    assert cli.main(["asm", str(guest), "-o", os.devnull]) == 0


# What is printed.

EVIL = "\x1b]0;owned\x07\x9b2J\u202e"
SHOWN = "\\x1b]0;owned\\x07\\x9b2J\\u202e"


def test_a_line_with_control_characters_is_shown_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guest = tmp_path / f"{EVIL}.S"
    guest.write_text(f"# /// pykvm\n# ///\n\n# {EVIL}.\n.ascii {EVIL}\n")
    assert cli.main(["run", str(guest)]) == 126
    guest.write_text(f'# /// pykvm\n# "a" = "{EVIL[-1]}"\n# ///\n')
    assert cli.main(["run", str(guest)]) == 126
    guest.write_text(f'# {EVIL}\n.ascii "{EVIL}"\n')
    assert cli.main(["asm", str(guest), "--listing"]) == 0
    assert cli.main(["guests", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    for text in (out, err):
        assert SHOWN in text
        assert all(each.isprintable() or each == "\n" for each in text)


def test_a_symbol_with_control_characters_is_shown_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from support.elf import Elf, Segment, Symbol

    path = tmp_path / "guest.elf"
    symbols = [Symbol(EVIL.encode(), 0x10_0000)]
    path.write_bytes(Elf([Segment(b"\xe4\x99\xf4")], symbols=symbols).build())  # in al, 0x99
    assert cli.main(["run", str(path), "--backend", "emu"]) == 125
    err = capsys.readouterr().err
    assert f"<{SHOWN}>" in err
    assert all(each.isprintable() or each == "\n" for each in err)


# keystone.


DEATHS = {
    "raise MemoryError": "out of memory: keystone does not start; raise `ulimit -v`",
    "import no_such_module": "assembling needs keystone-engine",
    "raise SystemExit('no such processor')": "keystone does not start: no such processor",
    "print(1, flush=True); input(); sys.exit('std::bad_alloc')": "ran out of memory on this: inc",
    "print(1, flush=True); input(); os.kill(os.getpid(), 27)": "not finish within 2.0 s on this",
    "print(1, flush=True); input(); os.abort()": "keystone crashed on this: inc",
}


@pytest.mark.parametrize("code", DEATHS)
def test_what_keystone_died_of_is_said(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child.py"
    child.write_text(f"import os, sys\n{code}\n")
    keystone_process._end_child()
    monkeypatch.setattr(keystone_process, "CHILD", child)
    with pytest.raises(PykvmError) as caught:
        assemble("inc eax\nmov eax, ebx")
    assert DEATHS[code] in str(caught.value)
    keystone_process._end_child()
