"""The block at the head of a guest's source."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykvm.errors import HeaderError, LoadError
from pykvm.guest import DEVICES, Expect, Guest, load_guest, parse_guest, parse_seconds
from pykvm.loader.image import Mode
from pykvm.result import Outcome

HELLO = Path(__file__).parents[2] / "guests" / "hello.S"


def head(toml: str, after: str = "hlt\n") -> Guest:
    lines = ["# /// pykvm", *(f"# {line}".rstrip() for line in toml.splitlines()), "# ///"]
    return parse_guest("\n".join(lines) + "\n" + after, Path("x.S"))


def test_every_key_reaches_its_attribute() -> None:
    guest = head(
        'mode = "real"\nload = 0x8000\nmemory = "2M"\ntimeout = "500ms"\ncpus = 2\n'
        'cpu = "x86-64-v2"\ndevices = ["exit"]\nirqchip = "full"\npit = true\n'
        'append = "a=b"\nexit_port = 0x501\n'
        'float = true\nrequires = ["user-int"]\n\n[expect]\noutput = "hi\\n"\n'
        'outcome = "exit"\nexit_code = 3\nexits = { PortOut = 4 }\ninput = "in"',
        "\n# What it shows,\n# in two lines.\n\n# More.\nhlt\n",
    )
    assert guest == Guest(
        Path("x.S"), "What it shows, in two lines.", Mode.REAL, 0x8000, 2 << 20, 0.5, 2,
        "x86-64-v2", ("exit",), "full", True, "a=b", True, ("user-int",),
        Expect("hi\n", Outcome.EXIT, 3, {"PortOut": 4}, "in"), exit_port=0x501,
    )  # fmt: skip


def test_without_a_block_the_defaults_hold() -> None:
    guest = parse_guest("# Halts.\nhlt\n", Path("x.S"))
    assert guest == Guest(Path("x.S"), "Halts.")
    assert guest.devices == DEVICES and guest.expect == Expect()


def test_a_block_behind_code_is_a_comment() -> None:
    assert parse_guest('hlt\n# /// pykvm\n# mode = "real"\n# ///\n', Path("x.S")).mode is Mode.LONG


@pytest.mark.parametrize(
    ("toml", "key", "why"),
    [
        ("mood = 1", "mood", "there are append"),
        ('mode = "virtual"', "mode", "real, protected, long, user"),
        ("mode = 1", "mode", "no mode 1"),
        ("load = -1", "load", "at least 0"),
        ("load = true", "load", "whole number"),
        ('memory = "lots"', "memory", "16M"),
        ("memory = []", "memory", "not a size"),
        ('timeout = "soon"', "timeout", '"10s"'),
        ("timeout = 0", "timeout", "not a time"),
        ("timeout = inf", "timeout", "not a time"),
        ("cpus = 0", "cpus", "at least 1"),
        ("cpu = 1", "cpu", "quotes"),
        ('devices = ["abacus"]', "devices", "debugcon"),
        ('devices = "exit"', "devices", "list"),
        ('irqchip = "half"', "irqchip", "none, full, split"),
        ('pit = "yes"', "pit", "true or false"),
        ("requires = [1]", "requires", "quotes"),
        ("expect = 1", "expect", "[expect]"),
        ("[expect]\noutptu = 1", "expect.outptu", "exit_code"),
        ('[expect]\noutcome = "fine"', "expect.outcome", "shutdown"),
        ("[expect]\nexits = { Portout = 1 }", "expect.exits", "PortOut"),
        ("[expect]\nexits = { PortOut = -1 }", "expect.exits", "at least 0"),
        ("[expect]\nexits = 3", "expect.exits", "table"),
    ],
)
def test_a_wrong_key_is_named_with_what_is_allowed(toml: str, key: str, why: str) -> None:
    with pytest.raises(HeaderError) as caught:
        head(toml)
    assert caught.value.key == key
    assert why in str(caught.value) and "x.S" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("# /// pykvm\n# mode =\n# ///\n", "line 2"),
        ('# /// pykvm\n# mode = "long"\nhlt\n', "line 3"),
        ('# /// pykvm\n# mode = "long"\n', "never ends"),
    ],
)
def test_a_broken_block_is_shown_by_line(source: str, why: str) -> None:
    with pytest.raises(HeaderError, match=why):
        parse_guest(source, Path("x.S"))


def test_files_that_are_no_source(tmp_path: Path) -> None:
    (tmp_path / "binary.S").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "huge.S").write_bytes(b"\n" * (1 << 20) + b"\n")
    for name in ("missing.S", "binary.S", "huge.S", "."):
        with pytest.raises(LoadError):
            load_guest(tmp_path / name)


def test_times() -> None:
    assert [parse_seconds(text) for text in ("2s", "1.5s", "250ms", "2m", 3, "7")] == [
        2, 1.5, 0.25, 120, 3, 7,
    ]  # fmt: skip


def test_a_guest_becomes_a_machine_that_runs() -> None:
    guest = load_guest(HELLO)
    with guest.machine() as machine:
        result = machine.run(guest.timeout_s)
    assert result.output.decode() == guest.expect.output
    assert result.outcome is guest.expect.outcome
    assert result.exits == guest.expect.exits
    assert guest.summary.startswith("The smallest complete guest")
