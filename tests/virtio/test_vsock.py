"""The socket device by its driver's side and by the host's. VIRTIO 1.2 §5.10."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from weakref import WeakMethod

import pytest

from pykvm import Machine
from pykvm.errors import UsageError
from pykvm.guest import load_guest
from pykvm.testing import Driver
from pykvm.testing.plugin import problem
from pykvm.virtio.spec import Status
from pykvm.virtio.vsock import REPLIES_MAX, STREAMS_MAX, Vsock
from pykvm.virtio.vsock_stream import BUFFER_BYTES, Op, Packet
from pykvm.worker import Worker

GUEST = Path(__file__).parents[2] / "guests" / "virtio_vsock.S"
RX, TX, EVENT = range(3)
CID = 3
CREDIT = 1 << 16


class Guest:
    """A guest's side by hand."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        self.errors: list[BaseException] = []
        self.device = Vsock(path)
        self.device.worker = Worker(self.lock, WeakMethod(self.failed))
        self.driver = Driver(self.device)
        self.driver.start()
        self.seen: list[tuple[Packet, bytes]] = []
        self.callers: list[socket.socket] = []

    def call(self, greeting: bytes) -> socket.socket:
        """A program of the host that connects."""
        self.callers.append(call(self.device.path, greeting))
        return self.callers[-1]

    def failed(self, error: BaseException) -> None:
        self.errors.append(error)

    def close(self) -> None:
        assert self.device.worker is not None
        self.device.worker.close()
        self.device.close()
        for sock in self.callers:
            sock.close()
        assert not self.errors

    def send(self, op: int, data: bytes = b"", **fields: int) -> None:
        """Put one packet in."""
        fields = {
            "src_cid": CID, "dst_cid": 2, "src_port": 9, "dst_port": 52, "len": len(data),
            "buf_alloc": CREDIT,
        } | fields  # fmt: skip
        with self.lock:
            queue = self.driver.queues[TX]
            queue.offer([Packet(op=op, **fields).pack(), *([data] if data else [])])
            queue.notify()
            self.driver.catch_up()
            queue.collect()

    def offer(self, count: int = 8, size_bytes: int = 4096) -> None:
        with self.lock:
            queue = self.driver.queues[RX]
            while len(queue.requests) < count:
                queue.offer([], [size_bytes])
            queue.notify()
            self.driver.catch_up()

    def collect(self) -> None:
        with self.lock:
            for used in self.driver.queues[RX].collect():
                packet = Packet.unpack(used.data[: Packet.SIZE])
                self.seen.append((packet, used.data[Packet.SIZE :]))

    def expect(self, op: int) -> tuple[Packet, bytes]:
        """The next packet, which is of that kind."""
        self.offer()
        until(lambda: self.collect() or self.seen)
        packet, data = self.seen.pop(0)
        assert packet.op == op
        assert len(data) == packet.len
        return packet, data

    def quiet(self) -> None:
        """Nothing comes."""
        self.offer()
        time.sleep(0.02)
        self.collect()
        assert not self.seen


def call(path: Path, greeting: bytes) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    sock.settimeout(30)
    for each in greeting:
        sock.send(bytes([each]))
    return sock


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    guest = Guest(tmp_path / "v")
    yield guest
    guest.close()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "v_52"))
        listener.listen()
        yield listener


@pytest.fixture
def stream(guest: Guest, listener: socket.socket) -> Iterator[socket.socket]:
    """A stream that the guest opened, by its host's end."""
    guest.send(Op.REQUEST)
    packet, _ = guest.expect(Op.RESPONSE)
    assert (packet.src_cid, packet.dst_cid) == (2, CID)
    assert (packet.src_port, packet.dst_port) == (52, 9)
    assert (packet.buf_alloc, packet.fwd_cnt) == (BUFFER_BYTES, 0)
    sock, _ = listener.accept()
    sock.settimeout(30)
    yield sock
    sock.close()


def test_the_guests_number(guest: Guest) -> None:
    assert guest.driver.config(0, 8) == CID.to_bytes(8, "little")


# The guest connects.


def test_a_guest_talks_to_the_hosts_socket(guest: Guest, stream: socket.socket) -> None:
    guest.send(Op.RW, b"hello")
    assert stream.recv(100) == b"hello"
    stream.sendall(b"world")
    packet, data = guest.expect(Op.RW)
    assert (data, packet.fwd_cnt) == (b"world", 5)


def test_nobody_listens(guest: Guest) -> None:
    guest.send(Op.REQUEST, dst_port=53)
    packet, _ = guest.expect(Op.RST)
    assert (packet.src_port, packet.dst_port) == (53, 9)


def test_the_host_hangs_up(guest: Guest, stream: socket.socket) -> None:
    stream.sendall(b"bye")
    stream.close()
    assert guest.expect(Op.RW)[1] == b"bye"
    assert guest.expect(Op.SHUTDOWN)[0].flags == 2
    guest.send(Op.SHUTDOWN, flags=3)
    guest.expect(Op.RST)
    guest.send(Op.RW, b"late")
    guest.expect(Op.RST)


def test_the_guest_hangs_up(guest: Guest, stream: socket.socket) -> None:
    guest.send(Op.RW, b"bye")
    guest.send(Op.SHUTDOWN, flags=3)
    assert stream.recv(100) == b"bye"
    assert stream.recv(100) == b""
    guest.expect(Op.RST)


def test_half_a_stream_goes_on(guest: Guest, stream: socket.socket) -> None:
    guest.send(Op.SHUTDOWN, flags=2)
    assert stream.recv(100) == b""
    stream.sendall(b"still here")
    assert guest.expect(Op.RW)[1] == b"still here"
    guest.send(Op.RW, b"what I said I would not")
    guest.expect(Op.RST)


def test_a_reset_ends_the_stream(guest: Guest, stream: socket.socket) -> None:
    guest.send(Op.RST)
    assert stream.recv(100) == b""
    guest.quiet()


def test_a_new_driver_ends_all_streams(guest: Guest, stream: socket.socket) -> None:
    with guest.lock:
        guest.driver.start()
    assert stream.recv(100) == b""
    guest.send(Op.RW, b"x")
    guest.expect(Op.RST)


# Credit. §5.10.6.3.


def test_the_host_keeps_to_the_guests_credit(guest: Guest, listener: socket.socket) -> None:
    guest.send(Op.REQUEST, buf_alloc=10)
    guest.expect(Op.RESPONSE)
    sock, _ = listener.accept()
    sock.sendall(b"0123456789abcdefghijklmnopqrst")
    assert guest.expect(Op.RW)[1] == b"0123456789"
    guest.quiet()
    guest.send(Op.CREDIT_UPDATE, buf_alloc=10, fwd_cnt=5)
    assert guest.expect(Op.RW)[1] == b"abcde"
    guest.send(Op.CREDIT_UPDATE, buf_alloc=2, fwd_cnt=0)
    guest.send(Op.CREDIT_UPDATE, buf_alloc=10, fwd_cnt=500)  # more than it was sent
    guest.quiet()
    guest.send(Op.CREDIT_UPDATE, buf_alloc=100, fwd_cnt=15)
    assert guest.expect(Op.RW)[1] == b"fghijklmnopqrst"
    sock.close()


def test_a_guest_that_sends_too_much_is_cut_off(guest: Guest, stream: socket.socket) -> None:
    for _ in range(100):  # the host's program reads nothing
        guest.send(Op.RW, b"x" * 65536)
        guest.offer()
        guest.collect()
        if any(packet.op == Op.RST for packet, _ in guest.seen):
            break
    assert guest.seen[-1][0].op == Op.RST


def test_credit_is_told_as_it_comes(guest: Guest, stream: socket.socket) -> None:
    text = os.urandom(3 * BUFFER_BYTES)
    received = bytearray()

    def read() -> None:
        while len(received) < len(text):
            received.extend(stream.recv(65536))

    reader = threading.Thread(target=read)
    reader.start()
    sent = taken = 0
    while sent < len(text):
        size_bytes = min(65536, len(text) - sent, BUFFER_BYTES - (sent - taken))
        if size_bytes:
            guest.send(Op.RW, text[sent : sent + size_bytes])
            sent += size_bytes
        guest.offer()
        guest.collect()
        for packet, _ in guest.seen:
            assert packet.op == Op.CREDIT_UPDATE
            taken = packet.fwd_cnt
        guest.seen.clear()
    reader.join()
    assert received == text
    guest.send(Op.CREDIT_REQUEST)
    while guest.expect(Op.CREDIT_UPDATE)[0].fwd_cnt != len(text):
        pass


def test_much_goes_to_the_guest(guest: Guest, stream: socket.socket) -> None:
    text = os.urandom(1 << 20)
    writer = threading.Thread(target=stream.sendall, args=(text,))
    writer.start()
    received = b""
    while len(received) < len(text):
        received += guest.expect(Op.RW)[1]
        guest.send(Op.CREDIT_UPDATE, fwd_cnt=len(received) & 0xFFFF_FFFF)
    writer.join()
    assert received == text


# The host connects.


def test_a_host_talks_to_the_guests_socket(guest: Guest) -> None:
    sock = guest.call(b"CONNECT 1234\nhello")
    packet, _ = guest.expect(Op.REQUEST)
    assert (packet.src_cid, packet.dst_port) == (2, 1234)
    ports = {"src_port": 1234, "dst_port": packet.src_port}
    guest.quiet()
    guest.send(Op.RESPONSE, **ports)
    assert sock.recv(100) == b"OK %d\n" % packet.src_port
    assert guest.expect(Op.RW)[1] == b"hello"
    guest.send(Op.RW, b"world", **ports)
    assert sock.recv(100) == b"world"
    sock.close()


def test_the_guest_refuses(guest: Guest) -> None:
    sock = guest.call(b"CONNECT 1234\n")
    packet, _ = guest.expect(Op.REQUEST)
    guest.send(Op.RST, src_port=1234, dst_port=packet.src_port)
    assert sock.recv(100) == b""


def test_the_host_gives_up_before_the_guest_answers(guest: Guest) -> None:
    guest.call(b"CONNECT 1234\n").close()
    packet, _ = guest.expect(Op.REQUEST)
    guest.expect(Op.RST)
    guest.send(Op.RESPONSE, src_port=1234, dst_port=packet.src_port)
    guest.expect(Op.RST)


@pytest.mark.parametrize(
    "greeting",
    [
        b"\n",
        b"CONNECT\n",
        b"CONNECT x\n",
        b"CONNECT -1\n",
        b"GET / HTTP/1.1\n",
        b"\xff\n",
        b"x" * 33,
    ],
)
def test_what_is_no_greeting_is_hung_up_on(guest: Guest, greeting: bytes) -> None:
    sock = guest.call(greeting)
    with suppress(ConnectionResetError):  # where it had more to say
        assert sock.recv(100) == b""
    guest.quiet()


def test_streams_are_bounded(guest: Guest) -> None:
    socks = [guest.call(b"C") for _ in range(STREAMS_MAX)]
    until(lambda: len(guest.device._greeting) == STREAMS_MAX)
    assert guest.call(b"").recv(1) == b""
    for sock in socks:
        sock.close()
    until(lambda: not guest.device._greeting)


# What a driver can do wrong.


@pytest.mark.parametrize(
    "fields",
    [
        {"op": Op.RW},
        {"op": Op.RESPONSE},
        {"op": Op.SHUTDOWN},
        {"op": Op.CREDIT_REQUEST},
        {"op": 0},
        {"op": 77},
        {"op": Op.REQUEST, "type": 2},
        {"op": Op.REQUEST, "dst_cid": 77},
    ],
)
def test_what_fits_no_stream_is_reset(guest: Guest, fields: dict[str, int]) -> None:
    guest.send(**fields)
    guest.expect(Op.RST)


@pytest.mark.parametrize("fields", [{"op": Op.RST}, {"op": Op.REQUEST, "src_cid": 5}])
def test_what_needs_no_answer_gets_none(guest: Guest, fields: dict[str, int]) -> None:
    guest.send(**fields)
    guest.quiet()


@pytest.mark.parametrize(
    "fields",
    [
        {"op": Op.REQUEST},
        {"op": Op.RESPONSE},
        {"op": 0},
        {"op": Op.RW, "len": 1},
        {"op": Op.RW, "len": 0xFFFF_FFFF},
    ],
)
def test_what_is_wrong_in_a_stream_ends_it(
    guest: Guest, stream: socket.socket, fields: dict[str, int]
) -> None:
    guest.send(**fields)
    guest.expect(Op.RST)
    assert stream.recv(1) == b""


def test_a_short_packet_does_nothing(guest: Guest) -> None:
    with guest.lock:
        queue = guest.driver.queues[TX]
        queue.offer([bytes(43)])
        queue.offer([], [100])
        queue.notify()
        assert len(queue.collect()) == 2
    guest.quiet()


def test_replies_are_bounded_and_none_is_lost(guest: Guest) -> None:
    count = 3 * REPLIES_MAX
    queue = guest.driver.queues[TX]
    back = 0
    for number in range(count):
        if len(queue.requests) == queue.size:
            break
        queue.offer([Packet(CID, 2, number, 52, op=Op.RW).pack()])
        queue.notify()
        back += len(queue.collect())
    assert back == REPLIES_MAX
    sent = back + len(queue.requests)
    ports = []
    while len(ports) < sent:
        ports.append(guest.expect(Op.RST)[0].dst_port)
    assert ports == list(range(sent))
    assert Status.DEVICE_NEEDS_RESET not in guest.driver.status


# In a machine.


def test_paths_and_numbers_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    for path in ("", "\0", tmp_path / "taken", tmp_path / "none" / "v", tmp_path / ("x" * 200)):
        with pytest.raises(UsageError, match="cannot be at"):
            Vsock(path)
    for cid in (0, 1, 2, 0xFFFF_FFFF, 1 << 32, 3.5, "3", None):
        with pytest.raises(UsageError, match="CID"):
            Vsock(tmp_path / "v", cid)  # type: ignore[arg-type]


def test_another_ones_socket_at_the_path_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    device, moved = Vsock("v"), Vsock("w")
    Path("v").unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind("v")
        monkeypatch.chdir("/")
        device.close()
        moved.close()
        assert [each.name for each in tmp_path.iterdir()] == ["v"]


def test_nothing_is_left_behind_a_machine(tmp_path: Path) -> None:
    def state() -> tuple[int, int, list[Path]]:
        files = len(list(Path("/proc/self/fd").iterdir()))
        threads = sum(each.name == "pykvm" for each in threading.enumerate())
        return files, threads, list(tmp_path.iterdir())

    states = []
    for _ in range(4):
        with Machine(devices=()) as vm:
            vm.add_virtio(Vsock(tmp_path / "v"))
            call(tmp_path / "v", b"").close()
        states.append(state())
    assert states[1:] == states[:-1]


@pytest.mark.parametrize("backend", ["kvm", "emu"])
def test_a_guest_talks_to_a_program_of_the_host(
    tmp_path: Path, listener: socket.socket, backend: str
) -> None:
    if why := problem(backend):
        pytest.skip(why)
    said = []

    def answer() -> None:
        sock, _ = listener.accept()
        with sock:
            said.append(sock.recv(100))
            sock.sendall(b"hello from the host\n")

    program = threading.Thread(target=answer)
    program.start()
    with Machine(devices=("debugcon", "exit"), backend=backend) as vm:
        vm.add_virtio(Vsock(tmp_path / "v"))
        vm.load(load_guest(GUEST).image())
        assert vm.run(30).output == b"hello from the host\n"
    program.join()
    assert said == [b"hello from the guest\n"]
