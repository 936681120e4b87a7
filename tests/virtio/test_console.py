"""The console by its driver's side, and its host's ends. VIRTIO 1.2 §5.3."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from weakref import WeakMethod

import pytest

from pykvm import Machine
from pykvm.errors import UsageError
from pykvm.guest import load_guest
from pykvm.testing import Driver
from pykvm.turn import TURN_BYTES
from pykvm.virtio import console, ends, spec
from pykvm.virtio.console import CONTROL, INPUT_MAX, Console, Event, Port
from pykvm.virtio.ends import End, Pty, Stream
from pykvm.virtio.mmio import Reg
from pykvm.virtio.spec import Status
from pykvm.worker import Worker

GUEST = Path(__file__).parents[2] / "guests" / "virtio_console.S"
RX, TX, CONTROL_RX, CONTROL_TX, RX1, TX1 = range(6)


class Slow(End):
    """Takes as much as it is allowed to."""

    def __init__(self) -> None:
        self.data = b""
        self.allowed = 0

    def write(self, data: bytes) -> int:
        taken = data[: self.allowed]
        self.data += taken
        self.allowed -= len(taken)
        return len(taken)


class Host:
    """A machine's lock and thread for a device under test."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.errors: list[BaseException] = []
        self.worker = Worker(self.lock, WeakMethod(self.failed))

    def failed(self, error: BaseException) -> None:
        self.errors.append(error)


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.worker.close()
    assert not host.errors


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def start(*ports: Port, host: Host | None = None, features: int | None = None) -> Driver:
    device = Console(ports)
    device.worker = host and host.worker
    driver = Driver(device)
    driver.start(features)
    return driver


def send(driver: Driver, index: int, *data: bytes) -> int:
    """Put output into a queue; how many buffers came back."""
    queue = driver.queues[index]
    for each in data:
        queue.offer([each])
    queue.notify()
    return len(queue.collect())


def receive(driver: Driver, index: int, size_bytes: int = 100) -> bytes:
    """Offer a buffer for input, and take what is there by then."""
    queue = driver.queues[index]
    if len(queue.requests) < 16:
        queue.offer([], [size_bytes])
    queue.notify()
    return b"".join(each.data for each in queue.collect())


def messages(driver: Driver) -> list[tuple[int, int, int, bytes]]:
    """All control messages that wait."""
    queue = driver.queues[CONTROL_RX]
    while len(queue.requests) < 16:
        queue.offer([], [100])
    queue.notify()
    return [
        (*CONTROL.unpack_from(used.data), used.data[CONTROL.size :]) for used in queue.collect()
    ]


def tell(driver: Driver, port: int, event: int, value: int = 1) -> None:
    assert send(driver, CONTROL_TX, CONTROL.pack(port, event, value)) == 1


# One port.


@pytest.mark.parametrize("features", [0, spec.F_RING_PACKED, spec.F_EVENT_IDX])
def test_output_reaches_the_stream(features: int) -> None:
    stream = io.BytesIO()
    driver = start(Port(Stream(stream)), features=features)
    assert send(driver, TX, b"hello, ", b"world", b"!" * 5000) == 3
    assert stream.getvalue() == b"hello, world" + b"!" * 5000


def test_input_waits_for_buffers_and_buffers_for_input() -> None:
    driver = start(Port())
    device = driver.device
    assert device.feed(b"one two three") == 13
    assert [receive(driver, RX, 4) for _ in range(4)] == [b"one ", b"two ", b"thre", b"e"]
    assert receive(driver, RX) == b""
    device.feed(b"four")
    (used,) = driver.queues[RX].collect()
    assert used.data == b"four"


def test_input_is_kept_up_to_a_bound_and_survives_a_reset() -> None:
    driver = start(Port())
    assert driver.device.feed(b"x" * (INPUT_MAX + 5)) == INPUT_MAX
    assert driver.device.feed(b"x") == 0
    driver.start()
    received = sum(len(receive(driver, RX, 1000)) for _ in range(70))
    assert received == INPUT_MAX
    assert driver.device.feed(b"x") == 1


def test_the_machines_output_is_the_console_unless_it_has_an_end() -> None:
    with load_guest(GUEST).machine() as vm:
        assert vm.run(60).output == b"Say something: you said hello, world\n"


def test_an_end_that_is_full_makes_the_guest_wait() -> None:
    end = Slow()
    driver = start(Port(end))
    end.allowed = 3
    assert send(driver, TX, b"hello", b"world") == 0
    assert send(driver, TX) == 0
    end.allowed = 4
    driver.device.ports[0].resume()
    assert (len(driver.queues[TX].collect()), end.data) == (1, b"hellowo")
    end.allowed = 100
    driver.device.ports[0].resume()
    assert (len(driver.queues[TX].collect()), end.data) == (1, b"helloworld")


@pytest.mark.parametrize("again", ["reset", "queue"])
def test_output_that_waits_is_forgotten_with_its_queue(again: str) -> None:
    end = Slow()
    driver = start(Port(end))
    end.allowed = 2
    send(driver, TX, b"hello")
    if again == "reset":
        driver.start()
    else:
        driver.reset_queue(TX)
    end.allowed = 100
    assert send(driver, TX, b"world") == 1
    assert end.data == b"heworld"


def test_much_output_lets_the_guest_have_its_turn() -> None:
    stream = io.BytesIO()
    driver = start(Port(Stream(stream)))
    size_bytes = TURN_BYTES + 1
    assert send(driver, TX, b"x" * size_bytes) == 0
    assert len(stream.getvalue()) == TURN_BYTES
    driver.catch_up()
    assert len(driver.queues[TX].collect()) == 1
    assert len(stream.getvalue()) == size_bytes


def test_buffers_of_the_wrong_kind_stop_the_device_or_do_nothing() -> None:
    driver = start(Port())
    driver.queues[TX].offer([], [1])
    driver.queues[TX].notify()
    assert [used.written_bytes for used in driver.queues[TX].collect()] == [0]
    driver = start(Port())
    driver.queues[RX].offer([b"x"], [1])
    driver.queues[RX].notify()
    driver.device.feed(b"x")
    assert Status.DEVICE_NEEDS_RESET in driver.status


def test_a_character_in_need_needs_no_queue() -> None:
    stream = io.BytesIO()
    driver = Driver(Console([Port(Stream(stream))]))
    driver.registers.write(Reg.CONFIG + 8, 4, ord("!"))
    driver.registers.write(Reg.CONFIG + 8, 1, ord("?"))
    assert stream.getvalue() == b"!?"


def test_the_size_is_told() -> None:
    device = Console(size=(80, 25))
    driver = Driver(device)
    driver.start()
    assert driver.config(0, 4) == struct.pack("<HH", 80, 25)
    device.resize(132, 50)
    assert driver.acknowledge() == spec.Interrupt.CONFIGURATION
    assert driver.config(0, 4) == struct.pack("<HH", 132, 50)
    with pytest.raises(UsageError):
        Console().resize(1, 1)
    with pytest.raises(UsageError):
        Console([Port()] * 17)


# Several ports. §5.3.6.2.


def test_ports_are_introduced_and_opened() -> None:
    stream = io.BytesIO()
    driver = start(Port(), Port(Stream(stream), name="org.example.port"))
    assert driver.config(4, 4) == b"\2\0\0\0"
    assert messages(driver) == []
    tell(driver, 0, Event.DEVICE_READY)
    assert messages(driver) == [(0, Event.DEVICE_ADD, 0, b""), (1, Event.DEVICE_ADD, 0, b"")]
    tell(driver, 0, Event.PORT_READY)
    assert messages(driver) == [(0, Event.CONSOLE_PORT, 1, b""), (0, Event.PORT_OPEN, 1, b"")]
    tell(driver, 1, Event.PORT_READY)
    assert messages(driver) == [
        (1, Event.PORT_NAME, 1, b"org.example.port"),
        (1, Event.PORT_OPEN, 1, b""),
    ]
    port = driver.device.ports[1]
    port.feed(b"input")
    assert receive(driver, RX1) == b""  # the guest has not opened it
    tell(driver, 1, Event.PORT_OPEN)
    (used,) = driver.queues[RX1].collect()
    assert used.data == b"input"
    assert port.is_open
    send(driver, TX1, b"output")
    assert stream.getvalue() == b"output"
    tell(driver, 1, Event.PORT_OPEN, 0)
    assert not port.is_open


def test_a_size_is_told_by_a_message_too() -> None:
    device = Console([Port(), Port()], size=(80, 25))
    driver = Driver(device)
    driver.start()
    tell(driver, 0, Event.DEVICE_READY)
    tell(driver, 0, Event.PORT_READY)
    assert (0, Event.RESIZE, 0, struct.pack("<HH", 80, 25)) in messages(driver)
    for columns in range(100):
        device.resize(columns, 5)
    told = [*messages(driver), *messages(driver), *messages(driver)]
    assert told[-1] == (0, Event.RESIZE, 0, struct.pack("<HH", 99, 5))
    assert len(told) < 20


def test_messages_are_few_however_many_the_driver_sends() -> None:
    driver = start(Port(), Port(name="x"))
    for _ in range(200):
        for port in (0, 1, 2, 0xFFFF_FFFF):
            for event in (*range(8), 0xFFFF):
                tell(driver, port, event)
    assert send(driver, CONTROL_TX, b"short") == 1
    assert len(messages(driver)) == 6
    assert Status.DEVICE_NEEDS_RESET not in driver.status


def test_without_multiport_the_first_port_needs_no_messages() -> None:
    driver = start(Port(), Port(), features=0)
    driver.device.feed(b"x")
    assert receive(driver, RX) == b"x"


# Ends.


def test_a_stream_without_a_descriptor_is_read_as_the_guest_takes_it(host: Host) -> None:
    text = bytes(range(256)) * 1024
    driver = start(Port(Stream(input=io.BytesIO(text))), host=host)
    received = b""
    while len(received) < len(text):
        with host.lock:
            received += receive(driver, RX, 5000)
        time.sleep(0)
    assert received == text


def test_a_regular_file_is_input(host: Host, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"from a file")
    with (tmp_path / "input").open("rb") as file:
        driver = start(Port(Stream(input=file)), host=host)
        until(lambda: driver.device.ports[0].input)
        with host.lock:
            assert receive(driver, RX) == b"from a file"


def test_a_pipe_is_input_and_stops_while_the_guest_is_full(host: Host) -> None:
    read_fd, write_fd = os.pipe()
    text = os.urandom(4 * INPUT_MAX)
    with os.fdopen(read_fd, "rb") as pipe:
        driver = start(Port(Stream(input=pipe)), host=host)

        def write() -> None:
            with os.fdopen(write_fd, "wb") as out:
                out.write(text)

        writer = threading.Thread(target=write)
        writer.start()
        until(lambda: len(driver.device.ports[0].input) == INPUT_MAX)
        received = b""
        while len(received) < len(text):
            with host.lock:
                received += receive(driver, RX, 3000)
            time.sleep(0)
        writer.join()
        assert received == text


def test_a_terminal_is_both(host: Host) -> None:
    end = Pty()
    driver = start(Port(end), host=host)
    send(driver, TX, b"nobody sees this")
    terminal = os.open(end.path, os.O_RDWR | os.O_NOCTTY)
    assert tty.tcgetattr(terminal)[3] & tty.ECHO == 0
    os.write(terminal, b"typed\x03")
    until(lambda: len(driver.device.ports[0].input) == 6)
    with host.lock:
        assert receive(driver, RX) == b"typed\x03"
        assert send(driver, TX, b"printed") == 1
    assert os.read(terminal, 100) == b"printed"
    os.close(terminal)
    with host.lock:
        assert send(driver, TX, b"nobody sees this") == 1
    terminal = os.open(end.path, os.O_RDWR | os.O_NOCTTY)
    with host.lock:
        assert send(driver, TX, b"again") == 1
    assert os.read(terminal, 100) == b"again"
    os.write(terminal, b"last words")
    os.close(terminal)
    until(lambda: len(driver.device.ports[0].input) == 10)
    host.worker.close()  # first, as machines do
    driver.device.close()


def test_a_terminal_that_is_not_read_makes_the_guest_wait(host: Host) -> None:
    end = Pty()
    driver = start(Port(end), host=host)
    terminal = os.open(end.path, os.O_RDWR | os.O_NOCTTY)
    text = bytes(each % 95 + 32 for each in range(300_000))
    with host.lock:
        assert send(driver, TX, text) == 0
    received = b""
    while len(received) < len(text):
        received += os.read(terminal, 65536)
    assert received == text

    def is_back() -> bool:
        with host.lock:
            return bool(driver.queues[TX].collect())

    until(is_back)
    os.close(terminal)
    host.worker.close()  # first, as machines do
    driver.device.close()


def test_a_hang_up_waits_for_the_reader_of_the_last_output() -> None:
    for number in range(20):
        end = Pty()
        terminal = os.open(end.path, os.O_RDWR | os.O_NOCTTY)
        text = b"the end %d" % number
        assert end.write(text) == len(text)
        closer = threading.Thread(target=end.close)
        closer.start()
        time.sleep(0.02)
        assert os.read(terminal, 100) == text
        closer.join()
        os.close(terminal)


def test_a_hang_up_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "DRAIN_S", 0.05)
    end = Pty()
    terminal = os.open(end.path, os.O_RDWR | os.O_NOCTTY)
    end.write(b"nobody reads this")
    end.close()
    with pytest.raises(OSError, match="Input/output error"):
        os.write(terminal, b"x")
    os.close(terminal)


# In a machine.


def test_nothing_is_left_behind_a_machine_with_a_terminal() -> None:
    def state() -> tuple[int, int]:
        files = len(list(Path("/proc/self/fd").iterdir()))
        return files, sum(each.name == "pykvm" for each in threading.enumerate())

    before = state()
    for _ in range(5):
        with Machine(devices=()) as vm:
            vm.add_virtio(Console([Port(Pty()), Port(Stream())]))
    assert state() == before


def test_a_guest_talks_to_a_terminal() -> None:
    end = Pty()
    guest = load_guest(GUEST)
    with Machine(devices=("exit",)) as vm:
        vm.add_virtio(Console([Port(end)]))
        vm.load(guest.image())
        terminal = os.open(end.path, os.O_RDWR | os.O_NOCTTY)

        def talk() -> None:
            seen = b""
            while b"you said " not in seen:
                seen += os.read(terminal, 100)
            os.write(terminal, b"a line\n")

        talker = threading.Thread(target=talk)
        talker.start()
        assert vm.run(30).status == 0
        talker.join()
        assert os.read(terminal, 100).endswith(b"a line\n")
        assert vm.result.output == b""
        os.close(terminal)


@pytest.mark.parametrize("events", ["exit", "eventfd"])
def test_a_guest_goes_on_in_the_run_after_its_end_raised(backend: str, events: str) -> None:
    class Full(Slow):
        def write(self, data: bytes) -> int:
            if not self.allowed:
                self.allowed = 1 << 20
                raise OSError("no space left")
            return super().write(data)

    end = Full()
    with Machine(devices=("exit",), backend=backend, virtio_events=events) as vm:
        vm.add_virtio(Console([Port(end)]))
        vm.load(load_guest(GUEST).image())
        vm.feed(b"a line\n")
        with pytest.raises(OSError, match="no space left"):
            vm.run(30)
        assert vm.run(30).status == 0
    assert end.data == b"you said a line\n"  # the question was lost


def test_a_machine_without_any_port_cannot_be_fed() -> None:
    with Machine(devices=()) as vm, pytest.raises(UsageError, match="no serial port"):
        vm.feed(b"x")
    with Machine(devices=("virtio-console",)) as vm:
        assert vm.feed(b"x" * (1 << 20)) == console.INPUT_MAX
