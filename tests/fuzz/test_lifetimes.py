"""Machines made, run and closed one after another leave nothing behind: no descriptor, no thread,
no mapping, no memory.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from support import ordeal

import pykvm
from pykvm.loader.image import Image, Mode
from pykvm.virtio.entropy import Entropy

SLICE, FULL = 600, 100_000
WARM_UP = 200  # until allocators and caches have what they keep
MAPPINGS = 12  # of the allocator's own, more or less
KIBIBYTES = 6 * 1024  # less than 16 bytes for each of a hundred thousand lives would be

HALT = Image("<halt>", Mode.LONG, 0x1_0000, ((0x1_0000, b"\xf4"),))
SPEAK = Image("<speak and halt>", Mode.LONG, 0x1_0000, ((0x1_0000, b"\xb0\x2e\xe6\xe9\xf4"),))
SPIN = Image("<jmp .>", Mode.LONG, 0x1_0000, ((0x1_0000, b"\xeb\xfe"),))


@dataclass(frozen=True, slots=True)
class Holdings:
    """What this process has."""

    descriptors: int
    threads: int
    mappings: int
    resident_kib: int


def holdings() -> Holdings:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # free memory that malloc holds comes and goes
    status = Path("/proc/self/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return Holdings(
        len(list(Path("/proc/self/fd").iterdir())),
        len(list(Path("/proc/self/task").iterdir())),
        Path("/proc/self/maps").read_text().count("\n"),
        int(resident.split()[1]),
    )


def plain(backend: str) -> None:
    with pykvm.VM(memory="1M", backend=backend) as vm:
        vm.load(SPEAK)
        assert vm.run(timeout=60).output == b"."


def busy(backend: str) -> None:
    """With chips, two processors, a device that has a thread's work, eventfds, and a log."""
    events = [os.eventfd(0) for _ in range(2)]
    with pykvm.VM(
        memory="2M", backend=backend, irqchip="full", pit=True, cpus=2, backing="memfd",
        virtio_events="eventfd",
    ) as vm:  # fmt: skip
        vm.add_virtio(Entropy())
        vm.vm.add_ioeventfd(events[0], 0x80, 1, port=True)
        vm.vm.add_irqfd(events[1], 4)
        vm.vm.set_dirty_logging(vm.memory.regions[0], True)
        vm.load(SPIN)
        vm.run(timeout=0.001)
    for fd in events:
        os.close(fd)


def dropped(backend: str) -> None:
    vm = pykvm.VM(memory="1M", backend=backend)
    vm.load(HALT)
    vm.run(timeout=60)


LIVES: tuple[Callable[[str], None], ...] = (plain, busy, plain, dropped)


def main(backend: str, lives: str) -> None:
    """So many lives; what was there before and after, as JSON."""

    def live(first: int, last: int) -> Holdings:
        for number in range(first, last):
            LIVES[number % len(LIVES)](backend)
        return holdings()

    before, after = live(0, WARM_UP), live(WARM_UP, int(lives))
    print(json.dumps([asdict(before), asdict(after)]))


@pytest.mark.timeout(ordeal.FULL_PATIENCE_S + 60)
def test_lives_leave_nothing_behind(backend: str, full: bool) -> None:
    lives = FULL if full else SLICE
    printed = ordeal.survive("fuzz.test_lifetimes", backend, lives, full=full)
    before, after = (Holdings(**each) for each in json.loads(printed))
    print(before, after)
    assert after.descriptors == before.descriptors
    assert after.threads == before.threads
    assert after.mappings - before.mappings < MAPPINGS
    assert after.resident_kib - before.resident_kib < KIBIBYTES


if __name__ == "__main__":
    main(*sys.argv[1:])
