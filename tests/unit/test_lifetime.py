"""Machines give everything back: closed, dropped, or failed half-way."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

import pykvm
from pykvm import host
from pykvm._native import ffi
from pykvm.backend.natives import owned
from pykvm.errors import PykvmError
from pykvm.loader.image import Image, Mode

pytestmark = pytest.mark.usefixtures("free_choice")

LIFETIMES = 1000
MANY = 10
HALT = Image("<halt>", Mode.LONG, 0x1_0000, ((0x1_0000, b"\xf4"),))


def run_and_close() -> None:
    with pykvm.VM(memory="1M") as vm:
        vm.load(HALT)
        vm.run(timeout=60)


def run_with_eventfds() -> None:
    """On the emulator, which has descriptors only then."""
    events = [os.eventfd(0) for _ in range(3)]
    with pykvm.VM(memory="1M", irqchip="full", backend="emu") as vm:
        vm.vm.add_ioeventfd(events[0], 0x80, 1, port=True)
        vm.vm.add_irqfd(events[1], 4, events[2])
        vm.vm.set_routes([])
        vm.vm.set_dirty_logging(vm.memory.regions[0], True)
        vm.load(HALT)
        vm.run(timeout=0.01)  # sleeps in HLT
    for fd in events:
        os.close(fd)


def drop() -> None:
    pykvm.VM(memory="1M").load(HALT)


def fail_at_the_cpu() -> None:
    pykvm.VM(memory="1M", cpu="no-such-model")


def fail_at_the_devices() -> None:
    pykvm.VM(memory="1M", devices=("debugcon", "no-such-device"))


def fail_at_the_irqchip() -> None:
    pykvm.VM(memory="1M", irqchip="no-such-chip")


def fail_at_the_backing() -> None:
    pykvm.VM(memory="1M", backing="no-such-backing")


def fail_at_the_memory() -> None:
    pykvm.VM(memory="3M", backing="huge")


def fail_for_want_of_descriptors() -> None:
    gc.collect()  # a dropped machine's descriptors must not come free half-way
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, hard))  # the VM's, no vCPU's
    try:
        pykvm.VM(memory="1M")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def fail_at_the_image() -> None:
    with pykvm.VM(memory="1M", backing="memfd") as vm:
        vm.load(Image("<far>", Mode.LONG, 0, ((1 << 30, b"\xf4"),)))


LIVES: list[Callable[[], None]] = [
    run_and_close,
    run_with_eventfds,
    drop,
    fail_at_the_cpu,
    fail_at_the_devices,
    fail_at_the_irqchip,
    fail_at_the_backing,
    fail_at_the_memory,
    fail_at_the_image,
]
if host.problem() is None:  # the emulator needs no descriptors
    LIVES.append(fail_for_want_of_descriptors)


def holdings() -> tuple[int, int]:
    """How many file descriptors and mappings this process has."""
    gc.collect()
    mappings = Path("/proc/self/maps").read_text().count("\n")
    return len(list(Path("/proc/self/fd").iterdir())), mappings


def live(life: Callable[[], None]) -> None:
    if life.__name__.startswith("fail"):
        with pytest.raises(PykvmError):
            life()
    else:
        life()


def test_a_closed_machine_leaves_no_work_to_the_garbage_collector(backend: str) -> None:
    def make_and_close() -> None:
        with pykvm.VM(memory="1M", devices=(), backend=backend) as vm:
            vm.load(HALT)

    make_and_close()
    gc.collect()
    make_and_close()
    assert gc.collect() == 0


@pytest.mark.parametrize("is_first", [False, True])
def test_native_parts_of_garbage_outlive_all_finalizers(is_first: bool) -> None:
    """Which the garbage collector calls in the order in which things were made."""
    done: list[str] = []

    class Part:
        def __init__(self) -> None:
            self.native, self._keeper = owned(ffi.new("int *"), lambda native: done.append("freed"))
            self.whole: Whole | None = None

    class Whole:
        part: Part

        def __del__(self) -> None:
            done.append("closed")

    if is_first:
        part, whole = Part(), Whole()
    else:
        whole, part = Whole(), Part()
    part.whole, whole.part = whole, part
    del part, whole
    gc.collect()
    assert done == ["closed", "freed"]


def test_a_native_part_stays_with_whoever_knows_it() -> None:
    done: list[str] = []
    native, keeper = owned(ffi.new("int *"), lambda native: done.append("freed"))
    del keeper
    assert done == []
    del native
    assert done == ["freed"]


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
def test_each_life_gives_everything_back(life: Callable[[], None]) -> None:
    live(life)
    before = holdings()
    for _ in range(MANY):
        live(life)
    after = holdings()
    assert after[0] == before[0]
    assert after[1] - before[1] < MANY  # the allocator's own, not one for each life


def test_a_thousand_lives_give_everything_back() -> None:
    for life in LIVES:
        live(life)
    fds, mappings = holdings()
    for number in range(LIFETIMES):
        live(run_and_close)
        live(LIVES[number % len(LIVES)])
    fds_after, mappings_after = holdings()
    assert fds_after == fds
    assert mappings_after - mappings < 10  # the allocator's own, not one for each life
