"""Processors in odd states whose tables lie in holes, in ROM and at the end of memory, run random
bytes while other threads map and unmap, log, interrupt, and get and set state.

What guest and owner do follows from a seed; when the threads meet is up to the host.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest
from support import oddities, ordeal

import pykvm
from pykvm.backend.types import MsiRoute, MsrTrap, default_routes
from pykvm.errors import PykvmError
from pykvm.loader.image import Image, Mode
from pykvm.registers import SpecialRegisters
from pykvm.state import MpState

SEED = 20261130
SLICE, FULL = 6, 1_000  # machines
RUNS = 30  # of each machine
CPUS = 3
PAGE = 0x1000
RAM_END, ROM, HOLE, MOVES = 0x10_0000, 0x20_0000, 0x30_0000, 0x40_0000
PLACES = (
    0x8000, 0x2_0000, RAM_END - PAGE, RAM_END - 8, RAM_END - 1, RAM_END, ROM, ROM + PAGE - 4,
    HOLE, HOLE + 8, MOVES, MOVES + PAGE, 0xFEE0_0000, 0xFEC0_0000, (1 << 40) - PAGE,
)  # fmt: skip
ENTRY = 0x8000

Deed = Callable[[pykvm.VM, random.Random], object]


# Stores, loads, strings, locks, far ways, tables: what goes well with pointers to odd places.
PHRASES = [
    bytes.fromhex(each)
    for each in (
        "8903",
        "8b06",
        "f3a4",
        "f3aa",
        "f0ff03",
        "f00fc10f",
        "ff33",
        "8f03",
        "0f0113",
        "0f011b",
        "0f0103",
        "8ed8",
        "8ee0",
        "0f22d8",
        "0f20c0",
        "cf",
        "cb",
        "cc",
        "cd80",
        "0f05",
        "e680",
        "6c",
        "6e",
        "0fae03",
        "0fae0b",
        "0fc70b",
        "660f7f03",
        "d93b",
        "dd33",
        "fb",
        "fa",
        "f4",
        "0f30",
        "0f32",
        "0f013b",
        "0f00d8",
        "0f00d0",
        "c8040000",
        "e2fe",
        "ebee",
        "0f08",
        "0f09",
    )
]


def code(dice: random.Random, size_bytes: int) -> bytes:
    """Random bytes with phrases among them."""
    parts = (
        dice.choice(PHRASES) if dice.random() < 0.8 else dice.randbytes(dice.randint(1, 8))
        for _ in range(size_bytes)
    )
    return b"".join(parts)[:size_bytes]


def fill(vm: pykvm.VM, dice: random.Random) -> None:
    """Code, and tables of entries that lead to each other and to nowhere."""
    vm.memory.write(ENTRY, code(dice, 4 * PAGE))
    for page in (0x2_0000, 0x2_1000, RAM_END - PAGE, ROM, MOVES):
        entries = (
            dice.choice(PLACES) & ~0xFFF | dice.choice((0, 1, 3, 7, 0x27, 0x87, 0xE7))
            if dice.random() < 0.9
            else dice.getrandbits(64)
            for _ in range(PAGE // 8)
        )
        vm.memory.write(page, b"".join(each.to_bytes(8, "little") for each in entries))


def upset(vm: pykvm.VM, dice: random.Random, normal: SpecialRegisters) -> None:
    """Put each processor into a state of its own, as odd as it takes."""
    for vcpu in vm.vcpus:
        with suppress(PykvmError):
            vcpu.set_mp_state(MpState.RUNNABLE)
        with suppress(PykvmError):
            vcpu.set_special(oddities.special(dice, normal, PLACES))
        registers = oddities.registers(dice, PLACES)
        registers.rip = ENTRY + dice.randrange(4 * PAGE)
        vcpu.set_registers(registers)


def map_and_move(vm: pykvm.VM, dice: random.Random) -> None:
    gpa = MOVES + PAGE * dice.randrange(2, 6)
    region = vm.memory.add(gpa, PAGE * dice.randint(1, 3), readonly=dice.random() < 0.3)
    try:
        vm.vm.map(region, log_dirty=dice.random() < 0.5)
        vm.memory.write(gpa, dice.randbytes(64))
        with suppress(PykvmError):
            vm.vm.move(vm.memory, region, HOLE + PAGE * dice.randrange(2))
        vm.vm.unmap(region)
    finally:
        vm.memory.remove(region)


def log(vm: pykvm.VM, dice: random.Random) -> None:
    region = dice.choice(tuple(vm.memory.regions))
    vm.vm.set_dirty_logging(region, True)
    vm.vm.dirty_log(region)
    vm.vm.dirty_log(region)
    vm.vm.set_dirty_logging(region, False)


def interrupt(vm: pykvm.VM, dice: random.Random) -> None:
    vcpu = dice.choice(vm.vcpus)
    deeds: tuple[Callable[[], object], ...] = (
        lambda: vm.vm.set_irq_line(oddities.number(dice, 9), dice.random() < 0.5),
        lambda: vm.vm.signal_msi(
            0xFEE0_0000 | oddities.number(dice, 20), oddities.number(dice, 16)
        ),
        lambda: vm.vm.raise_line_at(dice.randrange(24), dice.choice((None, 0, 1 << 20))),
        lambda: vm.vm.set_routes([*default_routes()[:20], MsiRoute(23, 0xFEE0_0000, 0x40)]),
        lambda: vcpu.interrupt(dice.randrange(256)),
        vcpu.nmi,
        vcpu.request_interrupt_window,
    )
    dice.choice(deeds)()


def ring(vm: pykvm.VM, dice: random.Random) -> None:
    fd, gsi, doorbell = os.eventfd(0), dice.randrange(24), HOLE + 8 * dice.randrange(4)
    try:
        vm.vm.add_ioeventfd(fd, doorbell, 4)
        vm.vm.add_irqfd(fd, gsi)
        os.eventfd_write(fd, 1)
        vm.vm.remove_irqfd(fd, gsi)
        vm.vm.remove_ioeventfd(fd, doorbell, 4)
        vm.vm.add_coalesced(HOLE + PAGE, 8)
        vm.vm.take_coalesced()
        vm.vm.remove_coalesced(HOLE + PAGE, 8)
        vm.vm.trap_msrs([MsrTrap(range(0x10, 0x10 + dice.randint(1, 64)))])
    finally:
        os.close(fd)


def look(vm: pykvm.VM, dice: random.Random) -> None:
    vcpu = dice.choice(vm.vcpus)
    vcpu.get_registers()
    vcpu.get_special()
    vcpu.get_xsave()
    vcpu.get_events()
    vcpu.get_lapic()
    vcpu.get_msrs(vcpu.msr_indices())
    vm.vm.get_irqchip()
    vm.vm.get_pit()


def set_state(vm: pykvm.VM, dice: random.Random) -> None:
    dice.choice(tuple(oddities.SETTERS.values()))(vm, dice)


def write(vm: pykvm.VM, dice: random.Random) -> None:
    vm.memory.write(ENTRY + dice.randrange(4 * PAGE), dice.randbytes(16))
    vm.memory.clear(RAM_END - PAGE, PAGE)
    vm.vm.note_write(oddities.number(dice), oddities.number(dice))


DEEDS: tuple[Deed, ...] = (map_and_move, log, interrupt, ring, look, set_state, write)


class Mob:
    """Threads that do their deeds at a machine again and again until it is enough."""

    def __init__(self, vm: pykvm.VM, seed: str, counts: Counter[str]) -> None:
        self.vm, self.seed, self.counts = vm, seed, counts
        self.enough = threading.Event()
        self.wrong: list[BaseException] = []
        self.threads = [threading.Thread(target=self._repeat, args=(deed,)) for deed in DEEDS]
        for thread in self.threads:
            thread.start()

    def _repeat(self, deed: Deed) -> None:
        dice = random.Random(f"{self.seed} {deed.__name__}")
        done = 0
        is_last = False
        while not is_last:
            is_last = self.enough.is_set()
            try:
                deed(self.vm, dice)
                done += 1
            except PykvmError:
                time.sleep(0)
            except BaseException as error:
                self.wrong.append(error)
                break
        self.counts[deed.__name__] += done

    def leave(self) -> None:
        self.enough.set()
        for thread in self.threads:
            thread.join()
        if self.wrong:
            raise self.wrong[0]


def live(number: int, counts: Counter[str]) -> None:
    """One machine, which runs in ever new states among the threads."""
    seed = f"{SEED} {number}"
    dice = random.Random(seed)
    with pykvm.VM(
        memory=RAM_END, backend="emu", cpus=CPUS, irqchip="full", pit=True,
        float_unclaimed=True, native=dice.random() < 0.5,
    ) as vm:  # fmt: skip
        for gpa, readonly in ((ROM, True), (MOVES, False)):
            vm.vm.map(vm.memory.add(gpa, PAGE, readonly=readonly))
        vm.load(Image("<random>", dice.choice(tuple(Mode)), ENTRY, ((ENTRY, b"\xf4"),)))
        fill(vm, dice)
        normal = [vcpu.get_special() for vcpu in vm.vcpus]
        mob = Mob(vm, seed, counts)
        try:
            for _ in range(RUNS):
                upset(vm, dice, dice.choice(normal))
                counts[ending(vm)] += 1
        finally:
            mob.leave()


def ending(vm: pykvm.VM) -> str:
    try:
        return vm.run(timeout=0.005).outcome.value
    except PykvmError as error:
        return type(error).__name__


def main(first: str, last: str) -> None:
    """Machines of those numbers; how their runs ended, as JSON."""
    counts: Counter[str] = Counter()
    for number in range(int(first), int(last)):
        print(f"machine {number}", file=sys.stderr, flush=True)
        live(number, counts)
    print(json.dumps(counts))


@pytest.mark.timeout(ordeal.FULL_PATIENCE_S + 60)
def test_threads_at_a_machine_in_odd_states(full: bool) -> None:
    machines = FULL if full else SLICE
    counts = json.loads(ordeal.survive("fuzz.test_threads", 0, machines, full=full))
    print(counts)
    assert {"shutdown", "timeout"} <= set(counts)  # they do run
    for deed in DEEDS:
        assert counts[deed.__name__], deed


if __name__ == "__main__":
    main(*sys.argv[1:])
