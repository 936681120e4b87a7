"""A machine's whole state, read after some exits and put into a new one: the same goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import whole_state

from pykvm.errors import CpuModelError, UsageError
from pykvm.exits import Exit
from pykvm.guest import Guest, load_guest
from pykvm.machine import Machine
from pykvm.probe import probe

GUESTS = Path(__file__).parents[2] / "guests"
STATELESS = {"debugcon", "exit"}  # devices in Python are no part of the state here
FILES = [
    path
    for path in sorted(GUESTS.glob("*.S"))
    if set(load_guest(path).devices) <= STATELESS
    and load_guest(path).cpus == 1
    and path.stem != "endless"
]
MOST_EXITS = 400


def run(vm: Machine, most: int = MOST_EXITS) -> list[Exit]:
    """The exits up to the end, or as many as wanted."""
    seen = []
    for exit in vm.exits(20):
        seen.append(exit)
        if len(seen) == most:
            break
    return seen


def cut_of(exits: list[Exit]) -> int:
    """After which exit to go on elsewhere: in the middle, where nothing waits for an answer, and
    before the write that ends the run. 0 where there is none.
    """
    places = (n for n in range(len(exits) // 2, len(exits) - 1) if n and not exits[n - 1].is_read)
    return next(places, 0)


def lacks(guest: Guest, backend: str) -> str:
    """Why a guest cannot run here; empty where it can."""
    try:
        guest.machine(backend=backend).close()
    except (CpuModelError, UsageError) as error:
        return str(error)
    found = [probe(name, backend) for name in guest.requires]
    return "; ".join(each.why for each in found if not each.ok)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_guest_goes_on_in_a_new_machine(path: Path, backend: str) -> None:
    guest = load_guest(path)
    if why := lacks(guest, backend):
        pytest.skip(why)
    clock = "instructions" if backend == "emu" else "wall"

    def machine() -> Machine:
        return guest.machine(backend=backend, native=False, clock=clock)

    with machine() as vm:
        whole = run(vm)
    cut = cut_of(whole)
    if not cut:
        pytest.skip("there is no exit to cut it at")
    with machine() as first, machine() as second:
        assert run(first, cut) == whole[:cut]
        state = whole_state.read(first, guest.irqchip, guest.pit)
        first.close()
        whole_state.write(second, state)
        assert run(second, MOST_EXITS - cut) == whole[cut:]
