"""State that is damaged or made up, through everything that sets state: it is taken or refused
with an error of pykvm's, and the machine runs on or dies in order.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter

import pytest
from support import oddities, ordeal

import pykvm
from pykvm.errors import PykvmError
from pykvm.loader.image import Image, Mode

SEED = 20261130
SLICE, FULL = 150, 10_000
SETS = 8  # of each machine, one after another
TIMEOUT_S = 0.002
# Uses what was set: vectors, x87, memory, a port, then waits for an interrupt.
CODE = bytes.fromhex("d9e8 0f58c1 66900fa2 e680 fb f4 ebf1")
GUEST = Image("<uses its state>", Mode.LONG, 0x1_0000, ((0x1_0000, CODE),))


def live(backend: str, number: int, counts: Counter[str]) -> None:
    """One machine: what is set is taken or refused, then it runs."""
    dice = random.Random(f"{SEED} {backend} {number}")
    with pykvm.VM(
        memory="1M", backend=backend, cpus=dice.choice((1, 1, 2)), irqchip="full", pit=True,
        float_unclaimed=True, assist=None if dice.random() < 0.5 else False,
    ) as vm:  # fmt: skip
        vm.load(GUEST)
        for _ in range(SETS):
            name, setter = dice.choice(tuple(oddities.SETTERS.items()))
            try:
                setter(vm, dice)
                counts[f"{name} taken"] += 1
            except PykvmError:
                counts[f"{name} refused"] += 1
            if dice.random() < 0.3:
                counts[ending(vm)] += 1
        counts[ending(vm)] += 1


def ending(vm: pykvm.VM) -> str:
    try:
        return vm.run(timeout=TIMEOUT_S).outcome.value
    except PykvmError as error:
        return type(error).__name__


def main(backend: str, first: str, last: str) -> None:
    """Machines of those numbers; what happened, as JSON."""
    counts: Counter[str] = Counter()
    for number in range(int(first), int(last)):
        try:
            live(backend, number, counts)
        except BaseException as error:
            error.add_note(f"machine {number} on {backend}")
            raise
    print(json.dumps(counts))


@pytest.mark.timeout(ordeal.FULL_PATIENCE_S + 60)
def test_no_state_harms_the_machine_s_owner(backend: str, full: bool) -> None:
    machines = FULL if full else SLICE
    counts = json.loads(ordeal.survive("fuzz.test_state_blobs", backend, 0, machines, full=full))
    print(counts)
    for name in oddities.SETTERS:
        assert counts[f"{name} taken"], name
    for name in ("special", "xsave", "xcrs", "msrs", "lapic", "irqchip", "pit"):
        assert counts[f"{name} refused"], name


if __name__ == "__main__":
    main(*sys.argv[1:])
