"""What all benches sample by: warm-up, batches, turns, and an end for what does not come back."""

from __future__ import annotations

import signal
import time

import pytest

from pykvm.bench.sampler import BATCH_NS, Batch, Effort, Impossible, by_host, timed, turns, watchdog
from pykvm.errors import PykvmError

EFFORT = Effort(batches=2, samples=3, batch_s=60)


def test_batches_are_doubled_until_the_clock_can_time_them() -> None:
    asked: list[int] = []

    def operate(count: int) -> float:
        asked.append(count)
        return BATCH_NS / 5

    batch = Batch(operate)
    assert [batch(), batch()] == [BATCH_NS / 5] * 2
    assert asked == [1, 1, 2, 4, 8, 8, 8]  # one warms up, and then the last is long enough


def test_samples_by_the_host_are_as_many_as_asked_for() -> None:
    samples = by_host(lambda count: BATCH_NS, EFFORT)
    assert (samples.values_ns, samples.repeat) == ([BATCH_NS] * 6, 1)


def test_the_first_sample_warms_up() -> None:
    numbers = iter(range(10))
    assert timed(lambda: [next(numbers)], EFFORT) == [1, 2, 3, 4, 5, 6]


def test_time_that_is_over_ends_it_with_a_sample_at_least() -> None:
    assert timed(lambda: [1], Effort(batches=2, samples=3, batch_s=0)) == [1]


def test_a_watchdog_ends_what_does_not_come_back_and_leaves_nothing_behind() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(Impossible, match="does not come back"), watchdog(0.05):
        time.sleep(60)
    with watchdog(60):
        pass
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_sides_take_turns_and_the_first_round_warms_up() -> None:
    order: list[str] = []

    def side(name: str) -> int:
        order.append(name)
        return len(order)

    found = turns({"a": lambda: side("a"), "b": lambda: side("b")}, 2)
    assert order == ["a", "b"] * 3
    assert found.pairs("a", "b") == [(3, 4), (5, 6)]


def test_a_side_that_fails_leaves_the_turns_to_the_others() -> None:
    def fail() -> float:
        raise PykvmError("it broke")

    found = turns({"a": fail, "b": lambda: 1.0}, 2)
    assert found.missing == {"a": "it broke"}
    assert found.readings == {"b": [1.0, 1.0]}
    with pytest.raises(Impossible, match="it broke"):
        found.pairs("a", "b")


def test_only_whole_rounds_are_kept_when_interrupted() -> None:
    readings = iter([1, 2, 3])

    def second() -> int:
        for reading in readings:
            return reading
        raise KeyboardInterrupt

    found = turns({"a": lambda: 0, "b": second}, 9)
    assert found.interrupted
    assert found.pairs("a", "b") == [(0, 2), (0, 3)]
