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
from pykvm.turn import TURN_ITEMS
from pykvm.virtio import offload, spec
from pykvm.virtio.device import Device
from pykvm.virtio.mmio import Reg
from pykvm.virtio.net import SEGMENTS_AT_ONCE, Net

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


def _run(backend: str, total: int | None, timeout: float) -> tuple[Outcome, Fed]:
    with Machine(memory="16M", backend=backend) as vm:
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


def test_what_is_left_is_asked_for_again(backend: str) -> None:
    outcome, device = _run(backend, 5 * SIZE + 3, 30)
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
