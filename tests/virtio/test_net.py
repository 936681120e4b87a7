"""The network device, driven without a guest."""

from __future__ import annotations

import struct

import pytest

from pykvm.errors import UsageError
from pykvm.net import frames
from pykvm.net.port import Port, connect
from pykvm.testing import Driver
from pykvm.virtio import net, offload, spec
from pykvm.virtio.net import Net

MAC, PEER = frames.parse_mac(net.MAC), bytes.fromhex("020000000009")
IP_A, IP_B = b"\x0a\0\0\2", b"\x0a\0\0\1"
PLAIN = bytes(offload.HEADER.size)
FORMS = pytest.mark.parametrize("withheld", [spec.F_RING_PACKED, 0], ids=["split", "packed"])


class Card:
    """A device that is set up, and what came out of it."""

    def __init__(self, features: int | None = None, *, withheld: int = 0, **options: int) -> None:
        self.device = Net(**options)
        self.device.withheld = withheld
        self.driver = Driver(self.device)
        self.driver.start(features)
        self.sent: list[bytes] = []
        self.port = Port(lambda *frames: self.sent.extend(frames))
        connect(self.device.port, self.port)
        self.control_index = len(self.driver.queues) - 1

    def send(self, data: bytes, queue: int = 1) -> None:
        self.driver.request(queue, data)

    def command(self, kind: int, command: int, data: bytes) -> bool:
        answer = self.driver.request(self.control_index, bytes((kind, command)) + data, 1)
        return answer == b"\0"

    def buffers(self, *sizes: int, queue: int = 0) -> None:
        for size in sizes:
            self.driver.queues[queue].offer([], [size])
        self.driver.queues[queue].notify()
        self.driver.catch_up()

    def received(self, queue: int = 0) -> list[bytes]:
        return [used.data for used in self.driver.queues[queue].collect()]


def frame(target: bytes = MAC, size: int = 60) -> bytes:
    return (target + PEER + b"\x88\xb5" + bytes(range(256)) * 8)[:size]


def tcp(payload: bytes, flags: int = 0x18) -> bytes:
    """A TCP segment over IPv4 whose checksum field holds the pseudo header's sum."""
    head = struct.pack(">HHIIBBHHH", 1000, 2000, 0xFFFF_FFF0, 0, 0x50, flags, 1024, 0, 0)
    pseudo = IP_A + IP_B + struct.pack(">HH", frames.PROTOCOL_TCP, 20 + len(payload))
    head = head[:16] + struct.pack(">H", frames.ones_sum(pseudo)) + head[18:]
    return PEER + MAC + b"\x08\x00" + frames.ipv4(IP_A, IP_B, frames.PROTOCOL_TCP, head + payload)


def test_frames_before_there_is_a_machine_or_a_driver_are_dropped() -> None:
    device, cable = Net(), Port(lambda *frames: None)
    connect(device.port, cable)
    cable.send(frame(), frame())
    Driver(device)
    cable.send(frame())
    assert device.statistics().rx_dropped == 3


def test_configuration_space() -> None:
    driver = Driver(Net(pairs=4, mtu=1500))
    assert driver.config(0, 12) == MAC + struct.pack("<HHH", 1, 4, 1500)


def test_features_that_need_others_are_refused_without() -> None:
    with pytest.raises(UsageError, match="refuses"):
        Driver(Net()).start(net.F_HOST_TSO4)
    with pytest.raises(UsageError, match="refuses"):
        Driver(Net()).start(net.F_CTRL_RX)


@FORMS
def test_frames_go_out_and_come_in(withheld: int) -> None:
    card = Card(withheld=withheld)
    card.send(PLAIN + frame(PEER))
    assert card.sent == [frame(PEER)]
    card.buffers(2048)
    card.port.send(frame())
    head = offload.HEADER.pack(0, 0, 0, 0, 0, 0, 1)
    assert card.received() == [head + frame()]
    assert card.driver.line


@FORMS
def test_a_large_frame_takes_several_buffers_at_once(withheld: int) -> None:
    card = Card(withheld=withheld)
    card.port.send(frame(size=300))  # waits until there is room
    card.buffers(100, 100)
    assert card.received() == []
    card.buffers(100, 100)
    pieces = card.received()
    assert [len(each) for each in pieces] == [100, 100, 100, 12]
    assert b"".join(pieces)[12:] == frame(size=300)
    assert pieces[0][10:12] == b"\4\0"


def test_without_mergeable_buffers_a_frame_has_to_fit() -> None:
    card = Card(0)
    card.buffers(100, 100)
    card.port.send(frame(size=300))
    assert card.received() == [b""]
    assert card.device.statistics().rx_dropped == 1


def test_a_checksum_is_put_in() -> None:
    card = Card()
    packet = tcp(b"hello")
    card.send(offload.HEADER.pack(1, 0, 0, 0, 34, 16, 0) + packet)
    assert len(card.sent[0]) == len(packet)
    assert offload.is_checked(card.sent[0])


def test_a_large_segment_is_cut_up() -> None:
    card = Card()
    payload = bytes(range(250)) * 10
    header = offload.HEADER.pack(1, offload.GSO_TCPV4 | offload.GSO_ECN, 54, 1000, 34, 16, 0)
    card.send(header + tcp(payload, flags=0x80 | 0x19))
    assert [len(each) - 54 for each in card.sent] == [1000, 1000, 500]
    assert b"".join(each[54:] for each in card.sent) == payload
    sequences = [struct.unpack_from(">I", each, 38)[0] for each in card.sent]
    assert sequences == [0xFFFF_FFF0, 0x3D8, 0x7C0]
    assert [each[47] for each in card.sent] == [0x90, 0x10, 0x19]
    for each in card.sent:
        assert offload.is_checked(each)
        assert frames.checksum(each[14:34]) == 0
        assert struct.unpack_from(">H", each, 16)[0] == len(each) - 14


def test_what_was_checked_is_said_to_be() -> None:
    card = Card()
    card.buffers(2048, 2048)
    good = MAC + PEER + b"\x08\x00" + frames.udp(IP_B, IP_A, (7, 9), b"hello")
    card.port.send(good)
    card.port.send(good[:-1] + b"?")
    assert [each[0] for each in card.received()] == [offload.HDR_F_DATA_VALID, 0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PLAIN,
        PLAIN + b"short",
        offload.HEADER.pack(1, 0, 0, 0, 60, 0, 0) + frame(),
        offload.HEADER.pack(1, 0, 0, 0, 0xFFFF, 0xFFFF, 0) + frame(),
        offload.HEADER.pack(1, 1, 54, 0, 34, 16, 0) + tcp(b"x"),
        offload.HEADER.pack(0, 1, 54, 100, 34, 16, 0) + tcp(b"x"),
        offload.HEADER.pack(1, 4, 54, 100, 34, 16, 0) + tcp(b"x"),
        offload.HEADER.pack(1, 3, 54, 100, 34, 16, 0) + tcp(b"x"),
        offload.HEADER.pack(1, 1, 54, 100, 30, 16, 0) + tcp(b"x"),
    ],
)
def test_a_packet_that_is_none_is_dropped_and_counted(data: bytes) -> None:
    card = Card()
    if data:
        card.send(data)
        assert card.device.statistics().tx_errors == 1
    assert card.sent == []
    assert card.device.live


def test_offloads_that_were_not_chosen_are_not_done() -> None:
    card = Card(0)
    card.send(offload.HEADER.pack(1, 0, 0, 0, 34, 16, 0) + tcp(b"hello"))
    assert card.sent == []


def test_filters_as_the_driver_sets_them() -> None:
    card = Card()
    group, other = bytes.fromhex("01005e000001"), bytes.fromhex("0200000000ff")

    def passes(*sent: bytes) -> list[bool]:
        found = []
        for each in sent:
            card.buffers(2048)
            before = card.device.statistics().rx_frames
            card.port.send(each)
            found.append(card.device.statistics().rx_frames > before)
        return found

    wanted = frame(), frame(frames.BROADCAST), frame(group), frame(other)
    assert passes(*wanted) == [True, True, False, False]
    tables = struct.pack("<I", 1) + other + struct.pack("<I", 1) + group
    assert card.command(1, 0, tables)
    assert passes(*wanted) == [True, True, True, True]
    assert card.command(0, 5, b"\1")
    assert passes(frame(frames.BROADCAST)) == [False]
    assert card.command(1, 1, other)
    assert card.driver.config(0, 6) == other
    assert card.command(1, 0, bytes(8))
    assert passes(frame(other), frame()) == [True, False]
    assert card.command(0, 0, b"\1")
    assert passes(frame()) == [True]
    tagged = frames.tag(frame(other), 9)
    assert passes(tagged) == [False]
    assert card.command(2, 0, b"\x09\0")
    assert passes(tagged) == [True]
    assert card.command(2, 1, b"\x09\0")
    assert passes(tagged) == [False]


@pytest.mark.parametrize(
    "command",
    [(0, 0, b""), (0, 9, b"\1"), (1, 0, b"\xff\xff\xff\xff"), (1, 0, bytes(9)), (1, 1, b"\1" * 6),
     (2, 0, b"\xff\xff"), (4, 0, b"\0\0"), (4, 0, b"\xff\0"), (9, 9, b"")],
)  # fmt: skip
def test_a_command_that_cannot_be_is_refused(command: tuple[int, int, bytes]) -> None:
    assert not Card(pairs=2).command(*command)


def test_several_pairs_of_queues() -> None:
    card = Card(pairs=4)
    assert card.command(4, 0, b"\3\0")
    for queue in (0, 2, 4):
        card.buffers(2048, queue=queue)
    answer = MAC + PEER + b"\x08\x00" + frames.udp(IP_B, IP_A, (7, 4000), b"hello")
    question = PEER + MAC + b"\x08\x00" + frames.udp(IP_A, IP_B, (4000, 7), b"hello")
    card.send(PLAIN + question, queue=5)
    card.port.send(answer)
    assert [len(card.received(queue)) for queue in (0, 2, 4)] == [0, 0, 1]


def test_without_several_pairs_the_control_queue_is_the_third() -> None:
    features = net.F_CTRL_VQ | net.F_CTRL_MAC_ADDR
    card = Card(features, pairs=4)
    card.control_index = 2
    assert card.command(1, 1, PEER)


def test_the_mtu_bounds_what_comes_in() -> None:
    card = Card(mtu=500)
    card.buffers(2048)
    card.port.send(frame(size=600))
    assert card.device.statistics().rx_dropped == 1


def test_the_link_goes_down_and_up() -> None:
    card = Card()
    card.device.set_link(False)
    assert card.driver.line
    assert card.driver.config(6, 2) == b"\0\0"
    card.send(PLAIN + frame(PEER))
    assert card.sent == []
    card.device.set_link(True)
    card.send(PLAIN + frame(PEER))
    assert card.sent == [frame(PEER)]


def test_frames_that_nobody_takes_are_bounded() -> None:
    card = Card()
    for _ in range(5000):
        card.port.send(frame())
    assert len(card.device.inbox) <= 1024
    assert card.device.statistics().rx_dropped > 3000
