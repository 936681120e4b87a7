"""Both forms of queue, driven honestly: sizes, wrap, suppression both ways, order, resets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pykvm.testing import Driver
from pykvm.virtio import spec
from pykvm.virtio.device import Device
from pykvm.virtio.mmio import Reg
from pykvm.virtio.queue import Chain
from pykvm.virtio.spec import Status

pytestmark = pytest.mark.usefixtures("each_walk")
FORMS = {"split": 0, "packed": spec.F_RING_PACKED}


class Echo(Device):
    """Writes back what it reads; `keep` holds requests back until `release`."""

    device_id = 63
    queue_sizes = (256, spec.QUEUE_SIZE_MAX)

    def __init__(self) -> None:
        super().__init__()
        self.keep = False
        self.kept: list[tuple[int, Chain]] = []
        self.notifications = 0
        self.each: Callable[[], None] = lambda: None

    def notified(self, index: int) -> None:
        self.notifications += 1
        for chain in self.queues[index]:
            self.each()
            if self.keep:
                self.kept.append((index, chain))
            else:
                self.queues[index].push(chain, chain.write(chain.read()))
        self.signal(self.queues[index])

    def release(self, order: int = 1) -> None:
        for index, chain in self.kept[::order]:
            self.queues[index].push(chain, chain.write(chain.read()))
            self.signal(self.queues[index])
        self.kept.clear()


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> int:
    return FORMS[request.param]


@pytest.fixture
def driver() -> Driver:
    return Driver(Echo())


def echo(driver: Driver) -> Echo:
    assert isinstance(driver.device, Echo)
    return driver.device


@pytest.mark.parametrize("extra", [0, spec.F_EVENT_IDX, spec.F_INDIRECT_DESC, spec.F_IN_ORDER])
def test_requests_come_back(driver: Driver, form: int, extra: int) -> None:
    driver.start(form | extra)
    for number in range(600):
        text = b"request %d" % number
        assert driver.request(0, text, 64) == text
    assert Status.DEVICE_NEEDS_RESET not in driver.status


def test_chains_are_put_together(driver: Driver, form: int) -> None:
    driver.start(form | spec.F_INDIRECT_DESC)
    queue = driver.queues[0]
    for indirect in (False, True):
        queue.offer([b"abc", b"defgh", b"i"], [2, 1, 30], indirect=indirect)
        queue.notify()
        (used,) = queue.collect()
        assert used.data == b"abcdefghi"
        assert driver.memory.read(*used.request.writable[1]) == b"c"


def test_a_split_chain_may_end_in_an_indirect_table(driver: Driver) -> None:
    driver.start(spec.F_INDIRECT_DESC)
    queue = driver.queues[0]
    first, table, target = (driver.allocate(64) for _ in range(3))
    driver.memory.write(first, b"head")
    driver.memory.write(table, spec.DESCRIPTOR.pack(target, 8, spec.DESC_F_WRITE, 0))
    queue.describe(0, first, 4, spec.DESC_F_NEXT, 1)
    queue.describe(1, table, 16, spec.DESC_F_INDIRECT | spec.DESC_F_WRITE, 0)  # WRITE: ignored
    queue.publish(0)
    queue.notify()
    assert driver.memory.read(target, 8) == b"head\0\0\0\0"


def test_a_split_index_wraps_at_65536(driver: Driver) -> None:
    driver.start(spec.F_EVENT_IDX, size=4)
    queue = driver.queues[0]
    for number in range(0x10000 + 50):
        queue.offer([], [4])
        assert queue.wants_notification()
        queue.notify()
        assert len(queue.collect()) == 1, number
    assert queue.next_used == 50
    assert driver.interrupts == 1  # nobody acknowledged it


@pytest.mark.parametrize("size", [1, 2, 64, 256])
def test_a_ring_can_be_full(driver: Driver, form: int, size: int) -> None:
    driver.start(form, size=size)
    queue = driver.queues[0]
    for _ in range(5):
        for _ in range(size):
            queue.offer([], [1])
        queue.notify()
        assert len(queue.collect()) == size
    queue.offer([], [1] * size)  # and one chain may take it all
    queue.notify()
    assert len(queue.collect()) == 1


def test_the_largest_size(driver: Driver, form: int) -> None:
    driver.start(form)
    queue = driver.queues[1]
    assert queue.size == 32768
    for _ in range(32768):
        queue.offer([], [1])
    queue.notify()
    driver.catch_up()
    assert len(queue.collect()) == 32768


def test_a_packed_ring_need_not_be_a_power_of_2(driver: Driver) -> None:
    driver.start(spec.F_RING_PACKED, size=7)
    for number in range(50):
        assert driver.request(0, b"%d" % number, 5) == b"%d" % number
    driver.start(0, size=8)
    driver.write(Reg.QUEUE_SEL, 0)
    driver.write(Reg.QUEUE_READY, 0)
    driver.write(Reg.QUEUE_NUM, 7)
    driver.write(Reg.QUEUE_READY, 1)
    assert Status.DEVICE_NEEDS_RESET in driver.status


@pytest.mark.parametrize("event", [0, spec.F_EVENT_IDX])
def test_interrupts_can_be_suppressed(driver: Driver, form: int, event: int) -> None:
    driver.start(form | event)
    queue = driver.queues[0]
    for on, expected in ((False, 1), (True, 0), (True, 0), (False, 1)):
        queue.suppress(on)
        driver.acknowledge()
        before = driver.interrupts
        queue.offer([], [1])
        queue.notify()
        assert driver.interrupts - before == expected
        queue.collect()


@pytest.mark.parametrize("event", [0, spec.F_EVENT_IDX])
def test_an_interrupt_comes_once_for_a_batch(driver: Driver, form: int, event: int) -> None:
    driver.start(form | event)
    queue = driver.queues[0]
    queue.suppress(False)
    for _ in range(20):
        queue.offer([], [1])
    queue.notify()
    assert driver.interrupts == 1


def test_an_event_in_the_middle_of_a_batch_counts(driver: Driver, form: int) -> None:
    driver.start(form | spec.F_EVENT_IDX, size=16)
    queue = driver.queues[0]
    for start in range(0, 64, 8):
        for wanted, expected in ((5, 1), (9, 0)):  # the sixth of eight; the second of the next
            driver.acknowledge()
            before = driver.interrupts
            _interrupt_at(queue, (start * 2 + (0 if expected else 8)) + wanted)
            for _ in range(8):
                queue.offer([], [1])
            queue.notify()
            assert driver.interrupts - before == expected, (start, wanted)
            queue.collect()


def _interrupt_at(queue: object, place: int) -> None:
    """Ask for one once descriptor number `place`, counted from the beginning, is used."""
    if hasattr(queue, "available"):
        queue.memory.write_int(queue.available + 4 + 2 * queue.size, place, 2)
        return
    wrap = 1 - place // queue.size % 2
    event = place % queue.size | wrap << 15
    queue.memory.write(queue.driver_area, spec.EVENT_SUPPRESS.pack(event, spec.EVENT_DESC))


@pytest.mark.parametrize("event", [0, spec.F_EVENT_IDX])
def test_notifications_are_suppressed_while_the_device_drains(
    driver: Driver, form: int, event: int
) -> None:
    driver.start(form | event)
    queue = driver.queues[0]
    wanted = []

    def put_in_one_more() -> None:
        if len(wanted) < 100:
            queue.offer([], [1])
            wanted.append(queue.wants_notification())

    echo(driver).each = put_in_one_more
    queue.offer([], [1])
    assert queue.wants_notification()
    queue.notify()
    assert wanted == [False] * 100
    assert len(queue.collect()) == 101
    queue.offer([], [1])
    assert queue.wants_notification()


@pytest.mark.parametrize("event", [0, spec.F_EVENT_IDX])
def test_a_driver_that_feeds_for_ever_gets_its_turn(driver: Driver, form: int, event: int) -> None:
    driver.start(form | event, size=16)
    queue = driver.queues[0]
    total = 0

    def feed() -> None:
        nonlocal total
        queue.collect()
        total += 1
        if total < 1000:
            queue.offer([], [1])

    echo(driver).each = feed
    queue.offer([], [1])
    queue.notify()
    assert total == 16
    assert len(driver.later) == 1
    queue.offer([], [1])
    assert queue.wants_notification()  # while it waits, the driver can ask too
    queue.notify()
    assert total == 32
    assert len(driver.later) == 1  # and what was put off does not pile up
    driver.catch_up()
    assert total == 1001
    assert echo(driver).notifications >= 1001 // 16


def test_out_of_order_stays_so(driver: Driver, form: int) -> None:
    driver.start(form)
    echo(driver).keep = True
    queue = driver.queues[0]
    heads = [queue.offer([b"x"], [1]).head for _ in range(5)]
    queue.notify()
    echo(driver).release(-1)
    assert [used.request.head for used in queue.collect()] == heads[::-1]


def test_in_order_puts_it_right(driver: Driver, form: int) -> None:
    driver.start(form | spec.F_IN_ORDER)
    echo(driver).keep = True
    queue = driver.queues[0]
    for _ in range(20):
        heads = [queue.offer([b"x"], [1], indirect=False).head for _ in range(50)]
        queue.notify()
        echo(driver).release(-1)
        assert [used.request.head for used in queue.collect()] == heads


@pytest.mark.parametrize("event", [0, spec.F_EVENT_IDX])
def test_one_queue_can_be_reset(driver: Driver, form: int, event: int) -> None:
    driver.start(form | event | spec.F_RING_RESET)
    echo(driver).keep = True
    for queue in driver.queues:
        for _ in range(3):
            queue.offer([b"old"], [3])
        queue.notify()
    driver.reset_queue(0)
    echo(driver).release()
    assert len(driver.queues[0].collect()) == 0  # what was out is forgotten
    assert len(driver.queues[1].collect()) == 3
    echo(driver).keep = False
    driver.queues[0].offer([b"new"], [3])
    assert driver.queues[0].wants_notification()
    driver.queues[0].notify()
    assert [used.data for used in driver.queues[0].collect()] == [b"new"]


def test_queue_reset_must_be_negotiated(driver: Driver) -> None:
    driver.start(0)
    driver.write(Reg.QUEUE_SEL, 0)
    driver.write(Reg.QUEUE_RESET, 1)
    assert driver.read(Reg.QUEUE_READY) == 1


def test_what_is_offered(driver: Driver) -> None:
    driver.start()
    assert driver.features & spec.F_QUEUES == spec.F_QUEUES
    driver.device.withheld = spec.F_RING_PACKED
    driver.start()
    assert not driver.features & spec.F_RING_PACKED


def test_status_bits_stay(driver: Driver) -> None:
    driver.start(0)
    driver.write(Reg.STATUS, int(Status.ACKNOWLEDGE))
    assert driver.status & Status.FEATURES_OK
    driver.write(Reg.DRIVER_FEATURES_SEL, 0)
    driver.write(Reg.DRIVER_FEATURES, 0xFFFF_FFFF)
    assert driver.device.features == spec.F_VERSION_1


def test_nothing_works_without_features_ok(driver: Driver) -> None:
    driver.write(Reg.STATUS, int(Status.ACKNOWLEDGE | Status.DRIVER | Status.DRIVER_OK))
    driver.write(Reg.QUEUE_READY, 1)
    assert driver.read(Reg.QUEUE_READY) == 0
    assert not driver.device.live


def test_buffers_from_before_driver_ok_are_served_then(driver: Driver) -> None:
    """Linux's balloon does so, and notifies before the device may listen. §3.1.1."""
    driver.negotiate()
    queue = driver.set_up(0)
    queue.offer([b"early"], [16])
    queue.notify()
    assert queue.collect() == []
    driver.write(Reg.STATUS, int(driver.status | Status.DRIVER_OK))
    assert len(queue.collect()) == 1
