"""Random bytes as guests: whatever they do ends as a Result or an error of pykvm's own.

A few hundred in each mode by default, 10,000 with --full; docs/testing.md says more.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

import pykvm
from pykvm import layout
from pykvm.errors import PykvmError
from pykvm.loader.image import Image, Mode

SEED = 20260501
SLICE, FULL = 200, 10_000
MAX_BYTES = 256
TIMEOUT_S = 0.005
SEEDS = Path(__file__).with_name("seeds.txt")


def run(mode: Mode, code: bytes, **options: object) -> str:
    """How a guest of these bytes ends, on a machine of its own."""
    base = layout.REAL_LOAD_BASE if mode is Mode.REAL else layout.LOAD_BASE
    with pykvm.VM(memory="1M", **options) as vm:
        vm.load(Image("<random>", mode, base, ((base, code),)))
        try:
            return vm.run(timeout=TIMEOUT_S).outcome.value
        except PykvmError as error:
            return type(error).__name__


def seeds() -> list[tuple[str, str, str]]:
    """The guests of seeds.txt: mode, bytes, why."""
    found = []
    for line in SEEDS.read_text().splitlines():
        guest, _, why = line.partition("#")
        if guest:
            mode, code = guest.split(maxsplit=1)
            found.append((mode, code.strip(), why.strip()))
    return found


@pytest.mark.parametrize(("mode", "code", "why"), seeds())
def test_a_guest_that_might_do_harm(mode: str, code: str, why: str) -> None:
    for float_unclaimed in (False, True):
        assert run(Mode(mode), bytes.fromhex(code), float_unclaimed=float_unclaimed), why


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
def test_random_guests(mode: Mode, full: bool) -> None:
    endings: Counter[str] = Counter()
    for number in range(FULL if full else SLICE):
        dice = random.Random(f"{SEED} {mode.value} {number}")
        code = dice.randbytes(dice.randint(1, MAX_BYTES))
        options = {
            "float_unclaimed": dice.random() < 0.5,
            "native": dice.random() < 0.5,
            "irqchip": dice.choice(("none", "none", "full", "split")),
            "cpu": dice.choice(("host", "x86-64-v2")),
        }
        try:
            endings[run(mode, code, **options)] += 1
        except Exception as error:
            error.add_note(f"guest {number}, {mode.value} {code.hex()} {options}")
            raise
    print(mode.value, dict(endings.most_common()))
    assert len(endings) > 1  # they do reach the guest's code
