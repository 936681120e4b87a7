"""Taking samples: by a guest's own counter, or by the host's clock around a batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pykvm.bench.exits.loop import MEMORY, Loop
from pykvm.bench.figures import Figures
from pykvm.errors import PykvmError
from pykvm.loader.image import Mode
from pykvm.machine import Machine
from pykvm.result import Outcome, Result

FENCE = "lfence"
PROBE_SAMPLES = 4
PROBE_TIMEOUT_S = 2.0
LONG_ENOUGH_NS = 200_000  # a batch by the host's clock, which itself takes well below 1 % of it
NS_PER_S = 1_000_000_000


class Impossible(PykvmError):
    """A row that this host or backend cannot measure; the message says why."""


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes:
        batches: independent runs of a row.
        samples: of each batch, at most.
        batch_s: how long a batch may take; samples are fewer where they take longer.
    """

    batches: int
    samples: int
    batch_s: float


QUICK = Effort(batches=3, samples=200, batch_s=0.05)
FULL = Effort(batches=10, samples=2000, batch_s=0.4)


@dataclass(frozen=True)
class Samples:
    """What was measured: nanoseconds of one operation each.

    Attributes:
        values_ns: in the order in which they were taken, the clock's own cost subtracted.
        clock: "guest" for the guest's counter, "host" for the host's clock around a batch.
        clock_ns: what was subtracted from each: what the clock itself takes.
        tsc_khz: of the guest's counter.
    """

    values_ns: list[float]
    clock: str
    clock_ns: float
    tsc_khz: int


@dataclass
class Sampler:
    """One run's way of measuring.

    Attributes:
        backend: "kvm" or "emu".
        effort: how much.
    """

    backend: str
    effort: Effort
    _fences: dict[Mode, str] = field(default_factory=dict)
    _clocks: dict[Mode, float] = field(default_factory=dict)

    @contextmanager
    def machine(self, loop: Loop) -> Iterator[Machine]:
        """A machine for a loop, alone with its processor: nothing helps it out."""
        options: dict[str, Any] = {"memory": MEMORY, "devices": ("exit",), **dict(loop.machine)}
        with Machine(backend=self.backend, assist=False, **options) as machine:
            yield machine

    def guest(self, loop: Loop) -> Samples:
        """Samples by the guest's counter.

        Raises:
            Impossible: it does not run to its end here.
        """
        clock_cycles = self._clock(loop.mode)
        values, khz = self._cycles(loop, self._fence(loop.mode), self.effort)
        cycle_ns = 1e6 / khz
        values_ns = [(each - clock_cycles) * cycle_ns / loop.repeat for each in values]
        return Samples(values_ns, "guest", clock_cycles * cycle_ns, khz)

    def _clock(self, mode: Mode) -> float:
        """What a pair of RDTSC takes in a mode, in cycles."""
        if mode not in self._clocks:
            values, _ = self._cycles(Loop(mode=mode), self._fence(mode), QUICK)
            self._clocks[mode] = Figures.of(values).median
        return self._clocks[mode]

    def _fence(self, mode: Mode) -> str:
        """LFENCE where guests can execute it."""
        if mode not in self._fences:
            try:
                with self.machine(Loop(mode=mode)) as machine:
                    self._run(machine, Loop(mode=mode), FENCE, PROBE_SAMPLES, PROBE_TIMEOUT_S)
                self._fences[mode] = FENCE
            except Impossible:
                self._fences[mode] = ""
        return self._fences[mode]

    def _cycles(self, loop: Loop, fence: str, effort: Effort) -> tuple[list[int], int]:
        values: list[int] = []
        with self.machine(loop) as machine:
            took_ns = self._run(machine, loop, fence, PROBE_SAMPLES, PROBE_TIMEOUT_S)
            count = _fitting(effort, took_ns / PROBE_SAMPLES, loop.samples_max)
            for _ in range(effort.batches):
                self._run(machine, loop, fence, count, PROBE_TIMEOUT_S + 10 * effort.batch_s)
                values += loop.read(machine, count)
            return values, machine.vcpu.get_tsc_khz()

    def _run(self, machine: Machine, loop: Loop, fence: str, count: int, timeout_s: float) -> int:
        """One batch; how long it took, in nanoseconds."""
        machine.load(loop.program(fence))
        kept = None if loop.prepare is None else loop.prepare(machine)
        machine.registers.rcx = count
        start_ns = time.perf_counter_ns()
        result = machine.run(timeout_s)
        took_ns = time.perf_counter_ns() - start_ns
        del kept
        if result.outcome is not Outcome.EXIT or result.status:
            raise Impossible(_reason(result, timeout_s))
        return took_ns

    def host(self, operate: Callable[[int], int]) -> Samples:
        """Samples by the host's clock: batches are doubled until one is long enough.

        Args:
            operate: does that many operations and returns the nanoseconds that they took.
        """
        count, took_ns = 1, operate(1)
        while took_ns < LONG_ENOUGH_NS:
            count *= 2
            took_ns = operate(count)
        wanted = self.effort.batches * self.effort.samples
        budget_ns = self.effort.batches * self.effort.batch_s * NS_PER_S
        wanted = max(1, min(wanted, int(budget_ns / took_ns)))
        return Samples([operate(count) / count for _ in range(wanted)], "host", 0.0, 0)


def _fitting(effort: Effort, sample_ns: float, most: int) -> int:
    fitting = int(effort.batch_s * NS_PER_S / max(sample_ns, 1))
    return max(PROBE_SAMPLES, min(effort.samples, fitting, most))


def _reason(result: Result, timeout_s: float) -> str:
    if result.outcome is Outcome.TIMEOUT:
        return f"it does not come back: stopped after {timeout_s:.0f} s"
    return result.reason.splitlines()[0]
