"""Cables, the switch, and the responder."""

from __future__ import annotations

import shutil
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from pykvm.errors import UsageError
from pykvm.net import frames
from pykvm.net.port import DEPTH_MAX, INBOX_BYTES, Inbox, Loopback, Port, connect, disconnect
from pykvm.net.responder import Responder
from pykvm.net.switch import Limit, Switch

A, B, C = (bytes.fromhex(f"02000000000{each}") for each in "abc")


class Station:
    """An end of a cable that keeps what comes."""

    def __init__(self, mac: bytes) -> None:
        self.mac = mac
        self.got: list[bytes] = []
        self.port = Port(lambda *frames: self.got.extend(frames))

    def send(self, target: bytes, payload: bytes = bytes(50)) -> bytes:
        frame = target + self.mac + b"\x88\xb5" + payload
        self.port.send(frame)
        return frame


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def wired(switch: Switch, *macs: bytes, **options: object) -> list[Station]:
    stations = [Station(mac) for mac in macs]
    for station in stations:
        connect(station.port, switch.add_port(**options))  # type: ignore[arg-type]
    return stations


# Frames.


@pytest.mark.parametrize("data", [b"", b"\0" * 9, b"\xff\xff", b"\x12\x34\x56", bytes(range(251))])
def test_the_sum_is_that_of_adding_words_with_carry(data: bytes) -> None:
    total = 0
    for (word,) in struct.iter_unpack(">H", data + b"\0" * (len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    assert frames.ones_sum(data) == total


@pytest.mark.parametrize("text", ["", "52:54:00:12:34", "01:00:5e:00:00:01", "5:54:00:12:34:56"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="address"):
        frames.parse_mac(text)


def test_a_tag_goes_in_and_out() -> None:
    frame = B + A + b"\x08\x00" + bytes(46)
    tagged = frames.tag(frame, 0x6000 | 7)
    assert frames.vlan_of(tagged) == 7
    assert frames.vlan_of(frame) is None
    assert frames.untag(tagged) == frame


# Cables.


def test_a_port_without_cable_loses_frames_and_counts_them() -> None:
    station = Station(A)
    station.send(B)
    assert station.port.lost == 1


def test_a_cable_has_two_ends_and_can_be_pulled() -> None:
    one, other = Station(A), Station(B)
    connect(one.port, other.port)
    with pytest.raises(UsageError, match="has a cable"):
        connect(one.port, Port(lambda *frames: None))
    frame = one.send(B)
    disconnect(other.port)
    one.send(B)
    assert other.got == [frame]


def test_frames_that_go_in_circles_end() -> None:
    switch = Switch()
    (station,) = wired(switch, A)
    connect(switch.add_port(), switch.add_port())
    station.send(frames.BROADCAST)
    assert len(station.got) <= 2**DEPTH_MAX


@pytest.mark.parametrize("cables", [1, 2, 3, 6])
def test_cables_from_a_switch_to_itself_carry_a_frame_a_few_times(cables: int) -> None:
    switch = Switch()
    (station,) = wired(switch, A)
    ports = [switch.add_port() for _ in range(2 * cables)]
    for one, other in zip(ports[::2], ports[1::2], strict=True):
        connect(one, other)
    station.send(frames.BROADCAST)
    assert 0 < sum(switch.statistics(port).frames_in for port in ports) <= 2 * cables * 2 * cables
    assert sum(switch.statistics(port).dropped_in for port in ports) > 0


@pytest.mark.parametrize("trunk", [(), (1, 2)])
def test_cables_between_two_switches_carry_a_frame_a_few_times(trunk: tuple[int, ...]) -> None:
    switch, other = Switch(), Switch()
    (station,) = wired(switch, A, vlan=2)
    for _ in range(3):
        vlan = 9 if trunk else 2
        connect(switch.add_port(vlan=vlan, trunk=trunk), other.add_port(vlan=vlan, trunk=trunk))
    station.send(frames.BROADCAST)
    assert len(station.got) < 100


def test_a_loopback_answers_through_a_switch() -> None:
    switch = Switch()
    (station,) = wired(switch, A)
    connect(Loopback().port, switch.add_port())
    frame = station.send(frames.BROADCAST)
    assert station.got == [frame]


def test_an_inbox_wakes_once_and_is_bounded() -> None:
    woken: list[int] = []
    inbox = Inbox(lambda: woken.append(1), limit=2)
    for each in (b"1", b"2", b"3"):
        inbox.put(each)
    assert (len(woken), inbox.lost) == (1, 1)
    assert [inbox.take(1), inbox.take(5), inbox.take(1)] == [[b"1"], [b"2"], []]
    inbox.put(b"4", b"5", b"6")
    assert (len(woken), inbox.lost) == (2, 2)
    assert inbox.take(5) == [b"4", b"5"]
    inbox.put_back([b"4", b"5"])
    inbox.put(b"7")  # there is no room for it, nor for a wake
    assert (len(woken), inbox.lost) == (2, 3)
    assert inbox.take(5) == [b"4", b"5"]


def test_what_waits_has_a_bound_in_bytes() -> None:
    inbox = Inbox(lambda: None)
    for _ in range(2):
        inbox.put(*[bytes(INBOX_BYTES // 4)] * 6)
        assert (len(inbox), inbox.lost) == (4, 2)
        taken = inbox.take(3)
        inbox.put_back(taken[1:])
        inbox.put(bytes(INBOX_BYTES // 4), bytes(1))
        assert (len(inbox), inbox.lost) == (4, 3)
        inbox.clear()
        inbox.lost = 0


def test_an_inbox_loses_no_wake_between_threads() -> None:
    came: list[bytes] = []
    due = threading.Semaphore(0)
    inbox = Inbox(due.release, limit=10_000)

    def produce() -> None:
        for number in range(2000):
            inbox.put(b"%d" % number)

    threads = [threading.Thread(target=produce) for _ in range(2)]
    for thread in threads:
        thread.start()
    while len(came) < 4000:
        assert due.acquire(timeout=30)
        while some := inbox.take(7):
            came += some
    for thread in threads:
        thread.join()


def test_loopback_gives_frames_back() -> None:
    station = Station(A)
    connect(station.port, Loopback().port)
    assert station.got == [station.send(B)]


# The switch.


def test_a_switch_floods_learns_and_forgets() -> None:
    clock = Clock()
    switch = Switch(age_s=10, clock=clock)
    a, b, c = wired(switch, A, B, C)
    a.send(B)  # nobody knows B
    assert (len(b.got), len(c.got)) == (1, 1)
    b.send(A)  # A is known
    assert (len(a.got), len(c.got)) == (1, 1)
    a.send(B)
    assert (len(b.got), len(c.got)) == (2, 1)
    clock.now_s = 11
    a.send(B)
    assert (len(b.got), len(c.got)) == (3, 2)
    assert switch.stations() == {(1, "02:00:00:00:00:0a"): "0"}


def test_a_switch_remembers_a_bounded_number_of_stations() -> None:
    switch = Switch()
    switch.addresses_max = 8
    (a,) = wired(switch, A)
    for number in range(100):
        a.port.send(B + bytes((2, 0, 0, 0, 1, number)) + b"\x88\xb5" + bytes(46))
    assert len(switch.stations()) == 8


def test_vlans_are_apart_and_trunks_carry_tags() -> None:
    switch = Switch()
    (a,), (b,) = wired(switch, A, vlan=5), wired(switch, B, vlan=6)
    (trunk,) = wired(switch, C, vlan=1, trunk=(5,))
    frame = a.send(frames.BROADCAST)
    assert (b.got, trunk.got) == ([], [frames.tag(frame, 5)])
    trunk.port.send(frames.tag(A + C + b"\x88\xb5" + bytes(46), 5))
    assert a.got == [A + C + b"\x88\xb5" + bytes(46)]
    trunk.port.send(frames.tag(A + C + b"\x88\xb5" + bytes(46), 7))
    assert len(a.got) == 1


def test_a_limit_drops_what_is_beyond_it() -> None:
    clock = Clock()
    switch = Switch(clock=clock)
    a, b = Station(A), Station(B)
    port = switch.add_port(ingress=Limit(8000, burst_bytes=1600))
    connect(a.port, port)
    connect(b.port, switch.add_port())
    for _ in range(4):
        a.send(B, bytes(786))  # 800 bytes in all
    assert len(b.got) == 2
    clock.now_s = 0.8
    a.send(B, bytes(786))
    assert len(b.got) == 3
    counted = switch.statistics(port)
    assert (counted.frames_in, counted.bytes_in, counted.dropped_in) == (3, 2400, 2)


@pytest.mark.parametrize("number", [0, -1, float("nan"), float("inf")])
def test_a_limit_is_more_than_nothing_and_finite(number: float) -> None:
    with pytest.raises(UsageError, match="limit"):
        Limit(number)
    with pytest.raises(UsageError, match="limit"):
        Limit(8000, number)  # type: ignore[arg-type]


@pytest.mark.parametrize("age_s", [None, "1", -1, float("nan")])
def test_an_age_is_a_time(age_s: float) -> None:
    with pytest.raises(UsageError, match="remembered"):
        Switch(age_s=age_s)


@pytest.mark.parametrize(
    "options",
    [{"vlan": 1.5}, {"vlan": "1"}, {"vlan": 0}, {"vlan": []}, {"trunk": 5}, {"trunk": "56"}],
)
def test_a_vlan_is_a_number(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="VLAN"):
        Switch().add_port(**options)  # type: ignore[arg-type]


def test_what_bridges_keep_to_themselves_is_not_forwarded() -> None:
    a, b = wired(Switch(), A, B)
    a.send(bytes.fromhex("0180c2000002"))
    a.port.send(B + b"\x01" + A[1:] + bytes(48))  # a group cannot send
    a.port.send(b"short")
    assert b.got == []


# The responder.


def asked(frame: bytes) -> list[bytes]:
    station = Station(A)
    connect(station.port, Responder().port)
    station.port.send(frame)
    return station.got


MAC, IP, MY_IP = bytes.fromhex("020000000001"), b"\x0a\0\0\1", b"\x0a\0\0\2"


def test_the_responder_answers_arp() -> None:
    arp = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1)
    (answer,) = asked(frames.BROADCAST + A + b"\x08\x06" + arp + A + MY_IP + bytes(6) + IP)
    assert answer[:14] == A + MAC + b"\x08\x06"
    assert answer[20:42] == b"\0\2" + MAC + IP + A + MY_IP
    assert len(answer) == frames.MIN_SIZE


def ping(message: bytes) -> bytes:
    message = message[:2] + struct.pack(">H", frames.checksum(message)) + message[4:]
    return MAC + A + b"\x08\x00" + frames.ipv4(MY_IP, IP, 1, message)


def test_the_responder_answers_pings_that_are_right() -> None:
    frame = ping(b"\x08\0\0\0\0\1\0\2" + bytes(range(33)))
    (answer,) = asked(frame)
    assert answer[26:34] == IP + MY_IP
    assert answer[34] == 0
    assert answer[38:75] == frame[38:]
    assert frames.checksum(answer[34:75]) == frames.checksum(answer[14:34]) == 0
    assert asked(frame[:-1] + b"?") == []
    assert asked(frame[:24] + b"??" + frame[26:]) == []


def test_the_responder_echoes_udp() -> None:
    frame = MAC + A + b"\x08\x00" + frames.udp(MY_IP, IP, (4000, 7), b"hello")
    (answer,) = asked(frame)
    assert answer[34:38] == struct.pack(">HH", 7, 4000)
    assert answer[42:47] == b"hello"
    assert asked(MAC + A + b"\x08\x00" + frames.udp(MY_IP, IP, (4000, 8), b"hello")) == []


# Captures.


def test_a_capture_opens_in_tshark(tmp_path: Path) -> None:
    pytest.importorskip("pcapng")
    from pykvm.net.capture import Capture

    station, path = Station(A), tmp_path / "ping.pcapng"
    connect(station.port, Responder().port)
    with Capture(path, [station.port]):
        station.port.send(ping(b"\x08\0\0\0\0\1\0\2" + bytes(range(32))))
    station.send(B)
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    command = ["tshark", "-r", path, "-T", "fields", "-e", "icmp.type", "-e", "ip.src"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["8", "10.0.0.2", "0", "10.0.0.1"], done.stderr
