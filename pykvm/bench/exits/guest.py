"""Samples by a guest's own counter."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from pykvm import layout
from pykvm.bench.exits.loop import MEMORY, Loop
from pykvm.bench.figures import median
from pykvm.bench.sampler import NS_PER_S, Effort, Impossible, Samples
from pykvm.exits import Exit, PortOut, Shutdown, Timeout
from pykvm.loader.image import Mode
from pykvm.machine import Machine
from pykvm.result import Outcome, Result

FENCE = "lfence"
PROBE_SAMPLES = 4
PROBE_TIMEOUT_S = 4.0  # strings of 4 KiB take a busy host a second
GUEST_SAMPLE_NS = 500  # a counter's steps may be 10 ns apart
REPEAT_MAX = 64


@dataclass
class GuestSampler:
    """One run's way of measuring.

    Attributes:
        backend: "kvm" or "emu".
        effort: how much.
        kept: what a row has found out for others, by a name of its own.
    """

    backend: str
    effort: Effort
    kept: dict[str, Any] = field(default_factory=dict)
    _fences: dict[Mode, str] = field(default_factory=dict)

    @contextmanager
    def machine(self, loop: Loop) -> Iterator[Machine]:
        """A machine for a loop, alone with its processor: nothing helps it out."""
        options: dict[str, Any] = {"memory": MEMORY, "devices": ("exit",), **dict(loop.machine)}
        with ExitStack() as stack:
            machine = Machine(backend=self.backend, assist=False, **options)
            stack.enter_context(machine)
            if loop.wire is not None:
                loop.wire(machine, stack)
            yield machine

    def guest(self, loop: Loop) -> Samples:
        """Samples by the guest's counter.

        Raises:
            Impossible: it does not run to its end here.
        """
        with self.machine(loop) as machine:
            return self.batches(loop, machine).samples(self.effort)

    def batches(self, loop: Loop, machine: Machine) -> Batches:
        """Batches of a loop in a machine of its own, probed and warmed up.

        Raises:
            Impossible: it does not run to its end here.
        """
        fence = self.fence(loop.mode)
        bare = None if loop.raw else Batches(loop.bare(), machine, fence)
        if bare is not None:
            bare.probe()
            bare.fit(self.effort)
        batches = Batches(loop, machine, fence, bare)
        batches.read_clock()
        first_ns = batches.probe()
        while loop.repeats and batches.repeat < REPEAT_MAX and bare is not None:
            each_ns = (first_ns - batches.clock * batches.cycle_ns) / batches.repeat
            if each_ns * batches.repeat >= GUEST_SAMPLE_NS:
                break
            batches.repeat = min(REPEAT_MAX, _power_above(GUEST_SAMPLE_NS / max(each_ns, 1)))
            bare.repeat = batches.repeat
            batches.read_clock()
            first_ns = batches.probe()
        batches.fit(self.effort)
        return batches

    def fence(self, mode: Mode) -> str:
        """LFENCE where guests can execute it."""
        if mode not in self._fences:
            try:
                with self.machine(Loop(mode=mode)) as machine:
                    Batches(Loop(mode=mode), machine, FENCE).probe()
                self._fences[mode] = FENCE
            except Impossible:
                self._fences[mode] = ""
        return self._fences[mode]


@dataclass
class Batches:
    """Runs of one loop in one machine.

    Attributes:
        bare: the same without operations, in the same machine: another one's memory lies
            elsewhere, and its clock takes 4 % more or less.
        repeat: operations in one sample.
        count: samples in one batch.
        clock: what a sample takes without its operations, in cycles, as it was last.
    """

    loop: Loop
    machine: Machine
    fence: str
    bare: Batches | None = None
    repeat: int = 1
    count: int = PROBE_SAMPLES
    clock: float = 0.0
    timeout_s: float = PROBE_TIMEOUT_S

    @property
    def cycle_ns(self) -> float:
        """What a cycle of the guest's counter is."""
        return 1e6 / self.machine.vcpu.get_tsc_khz()

    def probe(self) -> float:
        """Run it shortly: what its least sample says, in nanoseconds.

        Raises:
            Impossible: it does not run to its end.
        """
        self._run(PROBE_SAMPLES)
        return min(self.loop.read(self.machine, PROBE_SAMPLES)) * self.cycle_ns

    def fit(self, effort: Effort) -> None:
        """Choose how many samples a batch has, by a batch that warms up."""
        took_ns, count = self._run(PROBE_SAMPLES), PROBE_SAMPLES
        self.timeout_s += 10 * effort.batch_s
        for _ in range(2):
            fitting = int(effort.batch_s * NS_PER_S * count / max(took_ns, 1))
            self.count = max(1, min(effort.samples, fitting, self.loop.samples_max))
            if self.count <= count:
                break
            took_ns, count = self._run(self.count), self.count

    def take(self) -> list[int]:
        """The samples of one batch, in cycles; nothing is subtracted.

        Raises:
            Impossible: it does not run to its end.
        """
        self._run(self.count)
        return self.loop.read(self.machine, self.count)

    def read_clock(self) -> None:
        """See what a sample takes without its operations: now, since others use the host too."""
        if self.bare is not None:
            self.clock = median(self.bare.take())

    def nanoseconds(self) -> list[float]:
        """What one operation takes, by each sample of a batch."""
        if len(self.machine.vcpus) == 1:  # another one is in the midst of the program
            self.read_clock()
        scale = self.cycle_ns / (self.loop.turns * self.repeat)
        return [(each - self.clock) * scale for each in self.take()]

    def samples(self, effort: Effort) -> Samples:
        """Those of all batches, one after the other."""
        values_ns = [each for _ in range(effort.batches) for each in self.nanoseconds()]
        return Samples(
            values_ns, "guest", self.clock * self.cycle_ns, self.machine.vcpu.get_tsc_khz(),
            self.loop.turns * self.repeat,
        )  # fmt: skip

    def _run(self, count: int) -> int:
        """One batch; how long it took, in nanoseconds."""
        machine, loop = self.machine, self.loop
        machine.load(loop.program(self.fence, self.repeat))
        machine.registers.rcx = count
        if loop.prepare is not None:
            loop.prepare(machine)
        start_ns = time.perf_counter_ns()
        if loop.serve is None:
            result = machine.run(self.timeout_s)
            if result.outcome is not Outcome.EXIT or result.status:
                raise Impossible(_reason(result, self.timeout_s))
        else:
            exit = loop.serve(machine, int(self.timeout_s * NS_PER_S))
            if not isinstance(exit, PortOut) or exit.port != layout.EXIT_PORT:
                raise Impossible(_reason_of(exit, self.timeout_s))
        return time.perf_counter_ns() - start_ns


def _power_above(number: float) -> int:
    return 1 << max(0, int(number)).bit_length()


def _reason(result: Result, timeout_s: float) -> str:
    if result.error is not None:
        return result.reason.splitlines()[0]
    return _reason_of(result.exit, timeout_s)


def _reason_of(exit: Exit, timeout_s: float) -> str:
    match exit:
        case Timeout():
            return f"it does not come back: stopped after {timeout_s:.0f} s"
        case Shutdown():
            return "this virtual processor does not have it: the guest takes a fault"
    return str(exit)
