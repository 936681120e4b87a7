"""Guests with typing errors: each assembles, or gives an error that names its line.

A hundred by default, 10,000 with --full.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import pykvm
from pykvm.errors import AssemblyError, LoadError
from pykvm.guest import Guest, load_guest

SEED = 20260502
SLICE, FULL = 100, 10_000
GUESTS = sorted((Path(__file__).parents[2] / "guests").glob("*.S"))
# What is often typed by mistake, and what keystone cannot bear.
SLIPS = [
    *"[](),:;#\"'\\.-*+$@=<\n\0", "é", "0x", "300", "9" * 20, "/*", "//", "{k1}", "1f",
    "ah", "r8b", "rsp", "rip", "xmm0", "st(1)", "fs:", "ptr", "offset ", "dword ptr ", "byte",
    "lock ", "rep ", "lodsb", "movabs", "jmp", ".byte", ".org 5", ".text", ".section .data",
    ".include", ".macro", ".endm", ".if 1", ".rept 3", ".endr",
]  # fmt: skip


def mistype(source: str, dice: random.Random) -> str:
    """The source with one slip."""
    at, other = dice.randrange(len(source)), dice.randrange(len(source))
    match dice.randrange(4):
        case 0:  # something is missing
            return source[:at] + source[at + dice.randrange(1, 12) :]
        case 1:  # something is too much
            return source[:at] + dice.choice(SLIPS) + source[at:]
        case 2:  # the wrong key
            return source[:at] + chr(dice.randrange(32, 127)) + source[at + 1 :]
        case _:  # a piece of another line
            return source[:at] + source[other : other + dice.randrange(1, 20)] + source[at:]


def assemble(guest: Guest, source: str) -> None:
    pykvm.assemble(
        source, mode=guest.mode, origin=guest.load, name="typo.S", include_dir=guest.path.parent
    )


@pytest.mark.timeout(1200)
def test_typing_errors(full: bool) -> None:
    guests = [load_guest(path) for path in GUESTS]
    for number in range(FULL if full else SLICE):
        dice = random.Random(f"{SEED} {number}")
        guest = dice.choice(guests)
        source = guest.source
        for _ in range(dice.choice((1, 1, 2, 4))):
            source = mistype(source, dice)
        try:
            assemble(guest, source)
        except AssemblyError as error:
            assert error.line, error
            assert "keystone" not in str(error) or "AVX" in str(error), error
        except LoadError:
            assert "multiboot" in guest.path.name  # its header is read once it is assembled
