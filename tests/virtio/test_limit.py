"""Rates that requests are held to, by a clock that tests set."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pykvm.errors import UsageError
from pykvm.testing import Driver
from pykvm.virtio.block import HEAD, Block, Kind
from pykvm.virtio.disk import MemoryDisk
from pykvm.virtio.limit import WAIT_MAX_S, Limit, TokenBucket


class Clock:
    """Time, and what waits for it: a machine's thread in small."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now_s

    def post(self, call: Callable[[], None], delay_s: float = 0.0) -> None:
        self.calls.append((self.now_s + delay_s, call))

    def advance(self) -> None:
        """To the next call, which is made."""
        due_s, call = self.calls.pop(0)
        self.now_s = max(self.now_s, due_s)
        call()


def start(clock: Clock, limit: Limit) -> Driver:
    device = Block(MemoryDisk(1 << 20), limit=limit)
    device.worker = clock
    driver = Driver(device)
    driver.start(0)
    return driver


def offer(driver: Driver, count: int, size_bytes: int = 512) -> None:
    for _ in range(count):
        driver.queues[0].offer([HEAD.pack(Kind.IN, 0, 0)], [size_bytes + 1])
    driver.queues[0].notify()


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(10, burst=5, clock=clock)
    for _ in range(5):
        assert bucket.wait_s == 0
        bucket.take(1)
    assert bucket.wait_s > 0
    clock.now_s += 0.1
    assert bucket.wait_s == 0
    bucket.take(21)  # more than there ever is
    assert bucket.wait_s == pytest.approx(2.0, abs=1e-3)
    clock.now_s += 1000
    taken = 0
    while not bucket.wait_s:
        bucket.take(1)
        taken += 1
    assert taken == 5


def test_operations_are_held_to_their_rate() -> None:
    clock = Clock()
    driver = start(clock, Limit(operations_per_s=100, clock=clock))
    offer(driver, 60)
    back = len(driver.queues[0].collect())
    assert back == 10
    begin_s = clock.now_s
    while back < 60:
        clock.advance()
        back += len(driver.queues[0].collect())
    assert clock.now_s - begin_s == pytest.approx(0.5, abs=0.05)
    assert not clock.calls


def test_bytes_are_held_to_their_rate_and_large_requests_get_through() -> None:
    clock = Clock()
    driver = start(clock, Limit(bytes_per_s=1 << 20, clock=clock))
    begin_s = clock.now_s
    back = 0
    for _ in range(4):
        offer(driver, 4, 256 << 10)  # more than the burst
        back += len(driver.queues[0].collect())
    while back < 16:
        clock.advance()
        back += len(driver.queues[0].collect())
    assert clock.now_s - begin_s == pytest.approx(4.0, abs=0.5)


def test_a_driver_that_asks_again_and_again_waits_once() -> None:
    clock = Clock()
    driver = start(clock, Limit(operations_per_s=1, clock=clock))
    offer(driver, 3)
    for _ in range(100):
        driver.queues[0].notify()
    assert len(clock.calls) == 1
    assert len(driver.queues[0].collect()) == 1


@pytest.mark.parametrize("again", ["reset", "queue"])
def test_what_waits_is_forgotten_with_its_queue(again: str) -> None:
    clock = Clock()
    device = Block(MemoryDisk(1 << 20), limit=Limit(operations_per_s=1, clock=clock))
    device.worker = clock
    driver = Driver(device)
    driver.start()
    queue = driver.queues[0]
    for data in (b"a", b"b"):
        queue.offer([HEAD.pack(Kind.OUT, 0, 0), data * 512], [1])
    queue.notify()
    assert len(queue.collect()) == 1
    if again == "reset":
        driver.start()
    else:
        driver.reset_queue(0)
    while clock.calls:
        clock.advance()
    assert device.disk.read(0, 512) == b"a" * 512
    assert driver.queues[0].collect() == []


def test_a_wait_is_of_a_length_that_there_is() -> None:
    clock = Clock()
    for rate in (1e-9, 5e-324):
        bucket = TokenBucket(rate, clock=clock)
        bucket.take(1000)
        assert bucket.wait_s == WAIT_MAX_S


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_is_more_than_nothing_and_finite(rate: float) -> None:
    with pytest.raises(UsageError):
        TokenBucket(1, burst=rate)
    with pytest.raises(UsageError):
        Limit(operations_per_s=rate)
    with pytest.raises(UsageError):
        Limit(bytes_per_s=rate)
