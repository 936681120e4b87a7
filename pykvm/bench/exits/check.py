"""Are the figures right? The same exits measured in C, and delays that are known.

Both sides take turns within one run: the machines that this runs on are shared.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace

from pykvm.bench import program
from pykvm.bench.exits.loop import Loop, Wire
from pykvm.bench.exits.sampler import Batches, Sampler
from pykvm.bench.exits.user import PORT, Handler, mmio_loop, port_loop
from pykvm.machine import Machine

ROUNDS = 41
FLOOR_BAR, DELAY_BAR = 0.03, 0.02
DELAYS_US = (5, 20, 100)

# Commands of native/floor/timed.c, and the loops that measure the same.
_PAIRS = {
    "port out 1 B": ("out", port_loop("out", 1)),
    "port in 1 B": ("in", port_loop("in", 1)),
    "MMIO write 4 B": ("write", mmio_loop("write", 4)),
    "MMIO read 4 B": ("read", mmio_loop("read", 4)),
    "CPUID": ("cpuid", Loop("cpuid", "mov eax, 1")),
}


@dataclass(frozen=True)
class Agreement:
    """One comparison.

    Attributes:
        expected_ns, ours_ns: medians over the rounds.
        ratio: of ours to what is expected: the median over the rounds.
        bar: how far from 1 it may be.
    """

    name: str
    expected_ns: float
    ours_ns: float
    ratio: float
    bar: float

    @property
    def met(self) -> bool:
        """Whether the two agree."""
        return abs(self.ratio - 1) <= self.bar


def check(sampler: Sampler, rounds: int = ROUNDS) -> list[Agreement]:
    """The rows that the C program measures by nothing but ioctl, on KVM; then known delays."""
    compared = floors(sampler, rounds) if sampler.backend == "kvm" else []
    return compared + delays(sampler, rounds)


def floors(sampler: Sampler, rounds: int = ROUNDS) -> list[Agreement]:
    """The C program's medians against ours; the clock's own cost is taken off by each side."""
    with program.running("_floor") as floor:
        return [
            _against_c(sampler, floor, name, command, loop, rounds)
            for name, (command, loop) in _PAIRS.items()
        ]


def _against_c(
    sampler: Sampler, floor: program.Program, name: str, command: str, loop: Loop, rounds: int
) -> Agreement:
    with ExitStack() as stack:
        timed = _batches(sampler, stack, replace(loop, repeats=False))
        bare = _batches(sampler, stack, loop.bare())
        count = min(timed.count, sampler.effort.samples)

        def theirs_ns() -> float:
            values = floor.ask(f"{command} {count}")
            return statistics.median(values[:count]) - statistics.median(values[count:])

        def ours_ns() -> float:
            return _median_ns(timed) - _median_ns(bare)

        pairs = [(theirs_ns(), ours_ns()) for _ in range(rounds)]
    return _agreement(name, pairs, FLOOR_BAR)


class _Busy(Handler):
    """A device that takes its time, and notes how much it was."""

    def __init__(self, delay_ns: int) -> None:
        self.delay_ns = delay_ns
        self.spent_ns: list[int] = []

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """Wait."""
        clock = time.perf_counter_ns
        start_ns = now_ns = clock()
        end_ns = start_ns + self.delay_ns
        while now_ns < end_ns:
            now_ns = clock()
        self.spent_ns.append(now_ns - start_ns)


def delays(sampler: Sampler, rounds: int = ROUNDS) -> list[Agreement]:
    """What a device that waits adds to its row, against what it has waited.

    Of each batch the least sample counts. The longer a device waits, the colder is all that
    then leads back into the guest: that is the machine's doing and in the median.
    """
    return [_delay(sampler, delay_us, rounds) for delay_us in DELAYS_US]


def _delay(sampler: Sampler, delay_us: int, rounds: int) -> Agreement:
    with ExitStack() as stack:
        devices = (_Busy(0), _Busy(delay_us * 1000))
        sides = [
            _batches(sampler, stack, replace(port_loop("out", 1), repeats=False, wire=_with(each)))
            for each in devices
        ]

        def once() -> tuple[float, float]:
            for device in devices:
                device.spent_ns.clear()
            quick, slow = (min(each.take()) * each.cycle_ns for each in sides)
            return min(devices[1].spent_ns) - min(devices[0].spent_ns), slow - quick

        pairs = [once() for _ in range(rounds)]
    return _agreement(f"device that waits {delay_us} us", pairs, DELAY_BAR)


def _with(device: _Busy) -> Wire:
    def wire(machine: Machine, stack: ExitStack) -> None:
        machine.ports.claim(PORT, 1, device, "busy")

    return wire


def _batches(sampler: Sampler, stack: ExitStack, loop: Loop) -> Batches:
    return sampler.batches(loop, stack.enter_context(sampler.machine(loop)))


def _median_ns(batches: Batches) -> float:
    return statistics.median(batches.take()) * batches.cycle_ns


def _agreement(name: str, pairs: list[tuple[float, float]], bar: float) -> Agreement:
    expected_ns, ours_ns = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(ours / expected for expected, ours in pairs)
    return Agreement(name, expected_ns, ours_ns, ratio, bar)
