"""The memory balloon: what it gives the host, and what drivers can tell it. VIRTIO 1.2 §5.5."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pykvm import Machine
from pykvm.errors import UsageError
from pykvm.exits import Exit, MmioWrite
from pykvm.guest import load_guest
from pykvm.memory import Backing, GuestMemory, Region
from pykvm.testing import Driver
from pykvm.testing.plugin import problem
from pykvm.virtio import balloon, spec
from pykvm.virtio.balloon import Balloon, Number
from pykvm.virtio.mmio import Reg
from pykvm.virtio.spec import Status

PAGE = 4096
MEMORY_BYTES = 32 << 20
FIRST, COUNT = 2048, 4096  # pages that tests give away
GUEST = Path(__file__).parents[2] / "guests" / "virtio_balloon.S"


def resident(region: Region, first: int, count: int) -> int:
    """How many pages of a region have memory, by proc(5), pagemap."""
    with Path("/proc/self/pagemap").open("rb") as pagemap:
        pagemap.seek((region.hva // PAGE + first) * 8)
        return sum(entry >> 63 for (entry,) in struct.iter_unpack("<Q", pagemap.read(count * 8)))


def numbers(*pages: int) -> bytes:
    return b"".join(struct.pack("<I", page) for page in pages)


@pytest.fixture(params=["anonymous", "memfd"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    memory = GuestMemory()
    memory.add(0, MEMORY_BYTES, Backing(request.param))
    driver = Driver(Balloon(), memory)
    driver.start()
    yield driver
    memory.close()


def device(driver: Driver) -> Balloon:
    assert isinstance(driver.device, Balloon)
    return driver.device


def test_inflating_gives_memory_back_to_the_host(driver: Driver) -> None:
    (region,) = driver.memory.regions
    driver.memory.write(FIRST * PAGE, b"x" * COUNT * PAGE)
    assert resident(region, FIRST, COUNT) == COUNT
    given = range(FIRST + 1, FIRST + COUNT - 1)
    for start in range(0, len(given), 256):
        driver.request(Number.INFLATE, numbers(*reversed(given[start : start + 256])))
    assert resident(region, FIRST, COUNT) == 2
    assert driver.memory.read((FIRST + 1) * PAGE, PAGE) == bytes(PAGE)
    assert driver.memory.read(FIRST * PAGE, PAGE) == b"x" * PAGE
    assert driver.memory.read((FIRST + COUNT - 1) * PAGE, PAGE) == b"x" * PAGE


def test_deflating_leaves_memory_alone(driver: Driver) -> None:
    driver.memory.write(FIRST * PAGE, b"x" * PAGE)
    driver.request(Number.DEFLATE, numbers(FIRST))
    assert driver.memory.read(FIRST * PAGE, PAGE) == b"x" * PAGE


@pytest.mark.parametrize("number", [Number.HINTS, Number.REPORTS])
def test_reported_buffers_go_back_as_well(driver: Driver, number: int) -> None:
    (region,) = driver.memory.regions
    queue = driver.queues[number]
    request = queue.offer([], [6 * PAGE])
    ((gpa, _),) = request.writable
    driver.memory.write(gpa, b"x" * 6 * PAGE)
    queue.notify()
    whole = range(-(-gpa // PAGE), (gpa + 6 * PAGE) // PAGE)
    assert resident(region, whole.start, len(whole)) == 0
    assert [used.written_bytes for used in queue.collect()] == [0]


def test_huge_pages_are_not_taken_apart() -> None:
    memory = GuestMemory()
    region = memory.add(0, MEMORY_BYTES, Backing.HUGE)
    driver = Driver(Balloon(), memory)
    driver.start()
    memory.write(0x80_0000, b"x" * (2 << 20))
    driver.request(Number.INFLATE, numbers(*range(0x800, 0x900)))
    assert memory.read(0x80_0000, 2 << 20) == b"x" * (2 << 20)
    driver.request(Number.INFLATE, numbers(*range(0x800, 0xA00)))
    assert memory.read(0x80_0000, 2 << 20) == bytes(2 << 20)
    assert region.size_bytes == MEMORY_BYTES
    memory.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"\xff" * 3,
        numbers(0xFFFF_FFFF),
        numbers(MEMORY_BYTES // PAGE, MEMORY_BYTES // PAGE + 1, 0x8000_0000),
        numbers(FIRST) * 5000,
        numbers(*range(MEMORY_BYTES // PAGE - 1, MEMORY_BYTES // PAGE + 100)),
    ],
)
def test_hostile_page_numbers_are_harmless(driver: Driver, data: bytes) -> None:
    driver.memory.write(FIRST * PAGE - 4, b"x" * 8)
    driver.request(Number.INFLATE, data)
    driver.request(Number.DEFLATE, data)
    assert driver.memory.read(FIRST * PAGE - 4, 4) == b"x" * 4
    assert Status.DEVICE_NEEDS_RESET not in driver.status


def test_one_request_gives_a_bounded_number_of_pages(driver: Driver) -> None:
    last = FIRST + balloon.PAGES_MAX
    driver.memory.write(FIRST * PAGE, b"x")
    driver.memory.write(last * PAGE, b"x")
    driver.request(Number.INFLATE, numbers(*range(FIRST, last + 1)))
    assert driver.memory.read(FIRST * PAGE, 1) == b"\0"
    assert driver.memory.read(last * PAGE, 1) == b"x"


# What its owner sees and says.


def test_the_target_is_told_to_the_driver(driver: Driver) -> None:
    device(driver).target = "1M"
    assert driver.acknowledge() == spec.Interrupt.CONFIGURATION
    assert driver.config(0, 4) == numbers(256)
    assert device(driver).target == 1 << 20
    driver.registers.write(Reg.CONFIG + 4, 4, 200)
    assert device(driver).actual_bytes == 200 * PAGE
    assert driver.config(4, 4) == numbers(200)
    driver.start()
    assert device(driver).actual_bytes == 0
    assert device(driver).target == 1 << 20


def test_the_target_cannot_be_written_by_the_driver(driver: Driver) -> None:
    for offset in (0, 8, 12, 0xF00):
        driver.registers.write(Reg.CONFIG + offset, 4, 0xFFFF_FFFF)
    assert driver.config(0, 16) == bytes(16)


@pytest.mark.parametrize("size", [-4096, 1, 4097, "4K+1", 1 << 60])
def test_a_target_is_whole_pages(driver: Driver, size: int | str) -> None:
    with pytest.raises(UsageError):
        device(driver).target = size


def test_statistics_come_when_they_are_asked_for(driver: Driver) -> None:
    queue = driver.queues[Number.STATISTICS]
    queue.offer([bytes(10)])
    queue.notify()
    assert queue.collect() == []
    device(driver).ask()
    assert len(queue.collect()) == 1
    device(driver).ask()  # nothing is there to ask by
    told = ((5, 1 << 30), (4, 12345), (77, 1), (2, 3))
    queue.offer([b"".join(struct.pack("<HQ", *each) for each in told) + b"rest"])
    queue.notify()
    assert device(driver).statistics == {
        "total_bytes": 1 << 30, "free_bytes": 12345, "major_faults": 3,
    }  # fmt: skip
    assert queue.collect() == []


def test_more_than_one_buffer_for_statistics_comes_back(driver: Driver) -> None:
    queue = driver.queues[Number.STATISTICS]
    for _ in range(300):
        queue.offer([bytes(10)])
        queue.notify()
        queue.collect()
    device(driver).ask()
    assert len(queue.collect()) == 1
    assert not queue.requests


def test_a_reset_forgets_the_buffer_for_statistics(driver: Driver) -> None:
    driver.queues[Number.STATISTICS].offer([bytes(10)])
    driver.queues[Number.STATISTICS].notify()
    driver.start()
    device(driver).ask()
    assert driver.queues[Number.STATISTICS].collect() == []


# A guest.


@pytest.mark.parametrize("backend", ["kvm", "emu"])
def test_a_guests_memory_goes_back_to_the_host(backend: str) -> None:
    if why := problem(backend):
        pytest.skip(why)
    counts: list[int] = []
    guest = load_guest(GUEST)
    with guest.machine(backend=backend) as vm:
        (region,) = vm.memory.regions

        def observe(vcpu: object, exit: Exit, answer: object) -> None:
            if isinstance(exit, MmioWrite) and exit.gpa & 0xFFF == 0x104:
                counts.append(resident(region, 0x400, 256))

        vm.observer = observe
        before: list[int] = []
        original = vm.virtio[0].notified

        def notified(index: int) -> None:
            before.append(resident(region, 0x400, 256))
            original(index)

        vm.virtio[0].notified = notified
        assert vm.run(30).status == 0
    assert 256 in before
    assert counts[0] == 0


def test_an_owner_may_set_the_target_while_the_guest_runs() -> None:
    with Machine(devices=("virtio-balloon",)) as vm:
        (device,) = vm.virtio
        assert isinstance(device, Balloon)
        device.target = 0
        assert device.config()[:4] == bytes(4)
