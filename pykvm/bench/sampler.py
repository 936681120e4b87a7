"""Taking samples, for every bench: warm-up, batches long enough for the clock, turns, and an end.

It loads no library, as `figures` until it is asked for an interval: KVM_CREATE_VM takes longer the
more mappings a process has, and what measures would add to what it measures.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeVar

from pykvm.bench.figures import median
from pykvm.errors import PykvmError

NS_PER_S = 1_000_000_000
BATCH_NS = 200_000  # by the host's clock, which itself takes well below 1 % of it
WATCHDOG_S = 240.0  # of what is not stopped sooner, on a busy host
_READINGS = 100

T = TypeVar("T")


class Impossible(PykvmError):
    """What this host or backend cannot measure; the message says why."""


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


QUICK = Effort(batches=5, samples=400, batch_s=0.08)
FULL = Effort(batches=10, samples=2000, batch_s=0.3)


@dataclass(frozen=True)
class Samples:
    """What was measured: nanoseconds of one operation each.

    Attributes:
        values_ns: in the order in which they were taken, the clock's own cost subtracted.
        clock: "guest" for the guest's counter, "host" for the host's clock around a batch.
        clock_ns: what was subtracted from each reading: what the clock itself takes.
        tsc_khz: of the guest's counter.
        repeat: how many operations there were in one reading.
    """

    values_ns: list[float]
    clock: str
    clock_ns: float
    tsc_khz: int
    repeat: int = 1


@contextmanager
def watchdog(timeout_s: float = WATCHDOG_S) -> Iterator[None]:
    """An end for what does not come back.

    Raises:
        Impossible: the time is over.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Impossible(f"it does not come back: stopped after {timeout_s:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Batch:
    """Operations that are timed together: the first use doubles them until they are enough.

    Attributes:
        operate: does that many, and returns how many nanoseconds one took.
    """

    operate: Callable[[int], float]
    count: int = 1
    _long_enough: bool = False

    def __call__(self) -> float:
        """What one operation took, in nanoseconds."""
        if not self._long_enough:
            self.operate(self.count)  # warms up
            while self.operate(self.count) * self.count < BATCH_NS:
                self.count *= 2
            self._long_enough = True
        return self.operate(self.count)


def by_host(operate: Callable[[int], float], effort: Effort) -> Samples:
    """Samples by the host's clock around batches; `operate` is as a Batch has it."""
    batch = Batch(operate)
    values = timed(lambda: [batch()], effort)
    return Samples(values, "host", 0.0, 0, batch.count)


def timed(take: Callable[[], list[T]], effort: Effort) -> list[T]:
    """What one call after the other returns, until it is enough or the time is over."""
    take()  # warms up
    values: list[T] = []
    wanted = effort.batches * effort.samples
    end_s = time.monotonic() + effort.batches * effort.batch_s
    while not values or (len(values) < wanted and time.monotonic() < end_s):
        values += take()
    return values


def reading_ns(look: Callable[[], object]) -> float:
    """What reading the host's clock twice takes, and looking once."""
    taken = []
    for _ in range(_READINGS):
        start_ns = time.perf_counter_ns()
        look()
        taken.append(time.perf_counter_ns() - start_ns)
    return median(taken)


Side = Callable[[], Any]


@dataclass
class Turns:
    """What sides read that took turns: those of one round stand at one place.

    Attributes:
        readings: of each side.
        missing: why a side has none.
        interrupted: Ctrl-C ended it early; the rounds that were whole are here.
    """

    readings: dict[str, list[Any]]
    missing: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False

    def pairs(self, *names: str) -> list[tuple[Any, ...]]:
        """What these sides read, round by round.

        Raises:
            Impossible: one of them failed.
            KeyboardInterrupt: it was interrupted before a round was whole.
        """
        for name in names:
            if name in self.missing:
                raise Impossible(self.missing[name])
        pairs = list(zip(*(self.readings[name] for name in names), strict=True))
        if not pairs:
            raise KeyboardInterrupt
        return pairs


def turns(sides: Mapping[str, Side], rounds: int) -> Turns:
    """Let sides take turns, after a round that warms up; one that fails leaves it to the others."""
    found = Turns({name: [] for name in sides})
    try:
        for number in range(rounds + 1):
            whole = _round(sides, found)
            for name, reading in whole.items():
                if number:
                    found.readings[name].append(reading)
    except KeyboardInterrupt:
        found.interrupted = True
    return found


def _round(sides: Mapping[str, Side], found: Turns) -> dict[str, Any]:
    whole = {}
    for name in tuple(found.readings):
        try:
            with watchdog():
                whole[name] = sides[name]()
        except (PykvmError, OSError, MemoryError) as error:
            found.missing[name] = why_not(error)
            del found.readings[name]
    return whole


def why_not(error: Exception) -> str:
    """In words, what kept from measuring."""
    return str(error) or "the host is out of memory"
