"""Memory that is read-only for the guest is so for its devices."""

from __future__ import annotations

import pytest

from pykvm.errors import MemoryAccessError
from pykvm.memory import GuestMemory
from pykvm.testing import Driver
from pykvm.testing.driver import SplitQueue
from pykvm.virtio import spec
from pykvm.virtio.balloon import Balloon, Number
from pykvm.virtio.entropy import Entropy
from pykvm.virtio.spec import Status

ROM = 0x800_0000
ROM_BYTES = 0x4000
CONTENT = b"ROM!" * (ROM_BYTES // 4)
FORMS = pytest.mark.parametrize("form", [0, spec.F_RING_PACKED], ids=["split", "packed"])

pytestmark = pytest.mark.usefixtures("each_walk")


@pytest.fixture
def memory() -> GuestMemory:
    """RAM for a driver, and a ROM that its owner has written."""
    memory = GuestMemory()
    memory.add(0, 16 << 20)
    memory.add(ROM, ROM_BYTES, readonly=True)
    memory.add(ROM + ROM_BYTES, ROM_BYTES)
    memory.write(ROM, CONTENT)
    return memory


def put(driver: Driver, gpa: int, size_bytes: int, flags: int) -> None:
    queue = driver.queues[0]
    if isinstance(queue, SplitQueue):
        queue.describe(0, gpa, size_bytes, flags, 0)
        queue.publish(0)
    else:
        queue.describe(gpa, size_bytes, 0, flags)
    queue.notify()


@FORMS
@pytest.mark.parametrize("start", [ROM, ROM + ROM_BYTES - 16], ids=["whole", "its end"])
def test_no_buffer_to_write_is_read_only(memory: GuestMemory, form: int, start: int) -> None:
    driver = Driver(Entropy(), memory)
    driver.start(form)
    put(driver, start, 4096, spec.DESC_F_WRITE)
    assert Status.DEVICE_NEEDS_RESET in driver.status
    assert "read-only" in driver.device.problem
    assert memory.read(ROM, ROM_BYTES) == CONTENT


@FORMS
def test_a_buffer_to_read_may_be(memory: GuestMemory, form: int) -> None:
    driver = Driver(Entropy(), memory)
    driver.start(form)
    put(driver, ROM, 64, 0)
    assert Status.DEVICE_NEEDS_RESET not in driver.status


@FORMS
@pytest.mark.parametrize("part", [0, 1, 2], ids=["descriptors", "driver's", "device's"])
def test_no_part_of_a_ring_that_the_device_writes_is_read_only(
    memory: GuestMemory, form: int, part: int
) -> None:
    memory.write(ROM, bytes(ROM_BYTES))
    driver = Driver(Entropy(), memory)
    driver.negotiate(form)
    queue = driver.device.queues[0]
    places = [0x10_0000, 0x11_0000, 0x12_0000]
    places[part] = ROM
    queue.size, (queue.desc_gpa, queue.driver_gpa, queue.device_gpa) = 16, places
    driver.device.enable_queue(0)
    is_written = part == 2 or (part == 0 and form == spec.F_RING_PACKED)
    assert (Status.DEVICE_NEEDS_RESET in driver.status) == is_written
    assert ("read-only" in driver.device.problem) == is_written
    assert memory.read(ROM, ROM_BYTES) == bytes(ROM_BYTES)


@pytest.mark.parametrize("queue", [Number.INFLATE, Number.REPORTS])
def test_a_balloon_leaves_it_alone(memory: GuestMemory, queue: int) -> None:
    driver = Driver(Balloon(), memory)
    driver.start(driver.device.own_features)
    if queue == Number.INFLATE:
        driver.request(queue, (ROM >> 12).to_bytes(4, "little"))
    else:
        ring = driver.queues[queue]
        assert isinstance(ring, SplitQueue)
        ring.describe(0, ROM, ROM_BYTES, spec.DESC_F_WRITE, 0)
        ring.publish(0)
        ring.notify()
    driver.catch_up()
    assert memory.read(ROM, ROM_BYTES) == CONTENT


def test_the_owner_may_write_it_and_a_device_may_not(memory: GuestMemory) -> None:
    for start, size_bytes in ((ROM, 4), (ROM - 2, 4), (ROM + ROM_BYTES - 2, 4)):
        with pytest.raises(MemoryAccessError):
            memory.write_by_device(start, bytes(size_bytes))
    assert memory.read(ROM, ROM_BYTES) == CONTENT
    memory.write_by_device(ROM + ROM_BYTES, b"RAM")
    assert memory.read(ROM + ROM_BYTES, 3) == b"RAM"
