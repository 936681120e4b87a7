"""One notification that asks for much: turns end, the run can end, and nothing is lost."""

from __future__ import annotations

import struct

import pytest

from pykvm import Machine, layout
from pykvm.asm import assemble
from pykvm.net import frames
from pykvm.net.port import Port, connect
from pykvm.result import Outcome
from pykvm.testing import Driver
from pykvm.turn import TURN_BYTES, TURN_ITEMS, TURN_NS, Backlog, Turn
from pykvm.virtio import net, offload, spec
from pykvm.virtio.balloon import Balloon
from pykvm.virtio.block import HEAD, RANGE, RANGE_SECTORS_MAX, Block, Kind
from pykvm.virtio.device import Device
from pykvm.virtio.disk import MemoryDisk
from pykvm.virtio.entropy import Entropy
from pykvm.virtio.mmio import Reg
from pykvm.virtio.net import SEGMENTS_AT_ONCE, Net
from pykvm.virtio.queue import BURST

DONE = 0x3_0000
SIZE = 16
GUEST = f"""
    mov dword ptr [{layout.VIRTIO_BASE + Reg.QUEUE_NOTIFY:#x}], 0
wait:
    cmp dword ptr [{DONE:#x}], 0
    je wait
    mov eax, 0
    out 0xf8, eax
"""


class Fed(Device):
    """As if another processor put in a new request whenever one is taken, and told nobody."""

    device_id = 63
    queue_sizes = (SIZE,)

    def __init__(self, total: int | None) -> None:
        super().__init__()
        self.total = total
        self.taken = 0
        self.driver: Driver | None = None

    def notified(self, index: int) -> None:
        assert self.driver is not None
        for chain in self.queues[index]:
            self.queues[index].push(chain)
            self.taken += 1
            self.driver.queues[0].collect()
            if self.taken != self.total:
                self.driver.queues[0].offer([], [1])
            else:
                self.driver.memory.write_int(DONE, 1, 4)


def _run(
    backend: str, total: int | None, timeout: float, events: str = "exit"
) -> tuple[Outcome, Fed]:
    with Machine(memory="16M", backend=backend, virtio_events=events) as vm:
        device = Fed(total)
        vm.add_virtio(device)
        later = device.later
        vm.load(assemble(GUEST, mode="long"))
        device.is_attached = False  # the driver's side attaches it once more
        driver = device.driver = Driver(device, vm.memory, first_gpa=0x20_0000)
        device.later = later
        driver.start(0)
        driver.queues[0].offer([], [1])
        return vm.run(timeout=timeout).outcome, device


@pytest.mark.parametrize("events", ["exit", "eventfd"])
def test_what_is_left_is_asked_for_again(backend: str, events: str) -> None:
    outcome, device = _run(backend, 5 * SIZE + 3, 30, events)
    assert outcome is Outcome.EXIT
    assert device.taken == 5 * SIZE + 3


def test_a_run_ends_in_time_all_the_same(backend: str) -> None:
    outcome, device = _run(backend, None, 0.3)
    assert outcome is Outcome.TIMEOUT
    assert device.taken > SIZE


def _segmented(payload_bytes: int) -> bytes:
    """A packet that is to be cut into a frame for each byte."""
    head = struct.pack(">HHIIBBHHH", 1, 2, 0, 0, 0x50, 0, 0, 0, 0)
    packet = (
        bytes(12) + b"\x08\x00" + frames.ipv4(bytes(4), bytes(4), 6, head + bytes(payload_bytes))
    )
    request = offload.HEADER.pack(
        offload.HDR_F_NEEDS_CSUM, offload.GSO_TCPV4, 54, 1, frames.HEADER_SIZE + 20, 16, 0
    )
    return request + packet


@pytest.mark.parametrize("withheld", [spec.F_RING_PACKED, 0], ids=["split", "packed"])
def test_a_packet_of_many_segments_is_sent_in_turns(withheld: int) -> None:
    device = Net()
    device.withheld = withheld
    sent: list[bytes] = []
    port = Port(lambda *found: sent.extend(found))
    connect(device.port, port)
    driver = Driver(device)
    driver.start()
    queue = driver.queues[1]
    plain = bytes(offload.HEADER.size) + bytes(60)
    for data in (plain, _segmented(3 * TURN_ITEMS), plain):
        queue.offer([data])
    queue.notify()
    assert TURN_ITEMS <= len(sent) < TURN_ITEMS + 2 * SEGMENTS_AT_ONCE
    assert len(queue.collect()) == 1
    driver.catch_up()
    assert [used.request.head for used in queue.collect()]
    assert [len(each) for each in sent] == [60, *[55] * 3 * TURN_ITEMS, 60]
    numbers = [int.from_bytes(each[38:42], "big") for each in sent[1:-1]]
    assert numbers == list(range(3 * TURN_ITEMS))


def test_segments_that_wait_are_forgotten_with_their_queue() -> None:
    device = Net()
    sent: list[bytes] = []
    connect(device.port, Port(lambda *found: sent.extend(found)))
    driver = Driver(device)
    driver.start()
    driver.queues[1].offer([_segmented(2 * TURN_ITEMS)])
    driver.queues[1].notify()
    count = len(sent)
    driver.start()
    driver.catch_up()
    assert len(sent) == count
    driver.queues[1].offer([bytes(offload.HEADER.size) + bytes(60)])
    driver.queues[1].notify()
    assert len(sent) == count + 1


class Noted(MemoryDisk):
    """A disk that notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__(DISK_BYTES)
        self.changes: list[int] = []

    def write(self, offset: int, data: bytes) -> None:
        self.changes.append(len(data))
        super().write(offset, data)

    def clear(self, offset: int, size_bytes: int) -> None:
        self.changes.append(size_bytes)
        super().clear(offset, size_bytes)

    def flush(self) -> None:
        self.changes.append(0)


DISK_BYTES = 32 << 20
CLEAR = HEAD.pack(Kind.WRITE_ZEROES, 0, 0) + 4 * RANGE.pack(0, RANGE_SECTORS_MAX, 0)
WRITE = HEAD.pack(Kind.OUT, 0, 0) + bytes(5 * TURN_BYTES)
FLUSH = HEAD.pack(Kind.FLUSH, 0, 0)


@pytest.mark.parametrize(
    ("request_", "count", "total"),
    [(CLEAR, 8, 8 * 4 * RANGE_SECTORS_MAX * 512), (WRITE, 1, 5 * TURN_BYTES), (FLUSH, 8, 0)],
    ids=["write zeroes", "write", "flush"],
)
def test_a_disk_s_requests_are_served_in_turns(request_: bytes, count: int, total: int) -> None:
    disk = Noted()
    driver = Driver(Block(disk))
    driver.start()
    queue = driver.queues[0]
    for _ in range(count):
        queue.offer([request_], [1])
    queue.notify()
    statuses, done = b"", 0
    while disk.changes:
        assert sum(disk.changes) <= TURN_BYTES
        assert disk.changes.count(0) <= 1
        done += sum(disk.changes)
        disk.changes.clear()
        statuses += b"".join(used.data for used in queue.collect())
        driver.catch_up(1)
    assert done == total
    assert statuses + b"".join(used.data for used in queue.collect()) == bytes(count)


def test_a_request_that_waits_is_forgotten_with_its_queue() -> None:
    disk = Noted()
    driver = Driver(Block(disk))
    driver.start()
    status = driver.queues[0].offer([WRITE], [1]).writable[0][0]
    driver.memory.write(status, b"\x55")
    driver.queues[0].notify()
    driver.reset_queue(0)
    driver.catch_up()
    assert sum(disk.changes) == TURN_BYTES
    assert driver.memory.read(status, 1) == b"\x55"
    assert driver.request(0, FLUSH, 1) == b"\0"


def test_a_large_read_comes_whole() -> None:
    disk = MemoryDisk(bytes(range(256)) * (3 * TURN_BYTES // 256))
    driver = Driver(Block(disk))
    driver.start()
    queue = driver.queues[0]
    queue.offer([HEAD.pack(Kind.IN, 0, 0)], [3 * TURN_BYTES, 1])
    queue.notify()
    assert queue.collect() == []
    driver.catch_up()
    assert queue.collect()[0].data == disk.data + b"\0"


def test_a_balloon_gives_pages_back_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(Balloon())
    driver.start()
    given: list[int] = []
    monkeypatch.setattr(
        driver.memory.regions[0], "discard", lambda start, end: given.append(end - start)
    )
    queue = driver.queues[0]
    for _ in range(4):
        queue.offer([struct.pack("<1024I", *range(0, 2048, 2))])
    queue.notify()
    assert sum(given) == TURN_BYTES
    driver.catch_up()
    assert sum(given) == 4 * 1024 * 4096
    assert len(queue.collect()) == 4


def test_entropy_is_given_in_turns() -> None:
    asked: list[int] = []

    def source(size_bytes: int) -> bytes:
        asked.append(size_bytes)
        return bytes(size_bytes)

    driver = Driver(Entropy(source))
    driver.start()
    for _ in range(64):
        driver.queues[0].offer([], [1 << 16])
    driver.queues[0].notify()
    assert sum(asked) == TURN_BYTES
    driver.catch_up()
    assert len(driver.queues[0].collect()) == 64


def test_frames_come_in_in_turns() -> None:
    device = Net()
    driver = Driver(device)
    driver.start()
    for _ in range(60):
        driver.queues[0].offer([], [40_000])
    driver.queues[0].notify()
    device.inbox.put(*[bytes.fromhex(net.MAC.replace(":", "")) + bytes(30_000)] * 60)
    count = 0
    while more := driver.queues[0].collect():
        assert len(more) * 30_000 <= TURN_BYTES + BURST * 30_006
        count += len(more)
        driver.catch_up(1)
    assert count == 60


def test_a_turn_ends_by_the_machine_s_clock_and_not_before_anything_is_done() -> None:
    now_ns = 0
    turn = Turn()
    turn.clock_ns = lambda: now_ns
    turn.begin()
    now_ns = 2 * TURN_NS
    assert not turn.is_over
    turn.spend(1)
    assert turn.is_over
    turn.begin()
    turn.spend(1)
    assert not turn.is_over


def test_a_backlog_is_left_where_the_run_is_to_end() -> None:
    done: list[int] = []
    backlog = Backlog(is_fed=False)

    def work() -> None:
        done.append(1)
        backlog.is_stopped = len(done) == 3
        backlog.add(work)

    backlog.add(work)
    backlog.work_off()
    assert (len(done), len(backlog)) == (3, 1)
    backlog.is_stopped, backlog.deadline_ns = False, 0
    backlog.work_off()
    assert (len(done), len(backlog)) == (3, 1)
