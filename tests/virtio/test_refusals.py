"""What devices are given that they cannot use: refused there, not in the middle of a run."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from pykvm import Machine, layout
from pykvm.devices.scratch import Scratch
from pykvm.errors import BusError, ClosedError, DiskError, UsageError
from pykvm.testing import Driver
from pykvm.virtio.balloon import Balloon
from pykvm.virtio.block import HEAD, S_IOERR, S_OK, Block, Kind
from pykvm.virtio.console import Console, Port
from pykvm.virtio.device import Device
from pykvm.virtio.disk import MemoryDisk, OverlayDisk
from pykvm.virtio.ends import End, Stream
from pykvm.virtio.entropy import Entropy
from pykvm.virtio.net import Net
from pykvm.virtio.vsock import Vsock

TX = 1


def machine() -> Machine:
    return Machine(memory="1M", backend="emu", devices=())


def anything(value: object) -> Any:
    """What a program without types may pass."""
    return cast(Any, value)


@pytest.fixture
def vm() -> Iterator[Machine]:
    with machine() as vm:
        yield vm


# Whose a device is.


@pytest.mark.parametrize("make", [Entropy, Block, Console, Balloon, Net, Vsock])
def test_a_device_has_one_machine(vm: Machine, make: Callable[[], Device]) -> None:
    device = make()
    vm.add_virtio(device)
    interrupt, output, worker = device.interrupt, device.output, device.worker
    with machine() as other:
        for each in (vm, other):
            with pytest.raises(UsageError, match="make a new one for each"):
                each.add_virtio(device)
        assert (len(vm.virtio), other.virtio, other.console) == (1, [], None)
        other.add_virtio(make())  # the place was not taken
    assert (device.interrupt, device.output, device.worker) == (interrupt, output, worker)
    vm.close()
    with machine() as other, pytest.raises(UsageError, match="make a new one for each"):
        other.add_virtio(device)


def test_a_device_that_has_no_place_can_go_elsewhere(vm: Machine) -> None:
    for _ in range(layout.VIRTIO_COUNT):
        vm.add_virtio(Entropy())
    console = Console()
    with pytest.raises(UsageError, match="at most"):
        vm.add_virtio(console)
    with pytest.raises(UsageError, match="no console to feed"):
        vm.feed(b"x")
    with machine() as other:
        other.add_virtio(console)
        assert other.feed(b"x") == 1


def test_a_device_whose_place_is_taken_can_go_elsewhere(vm: Machine) -> None:
    vm.mmio.claim(layout.VIRTIO_BASE, 4, Scratch(4))
    device = Entropy()
    with pytest.raises(BusError, match="overlaps"):
        vm.add_virtio(device)
    assert not vm.virtio
    with machine() as other:
        other.add_virtio(device)


def test_a_port_has_one_console() -> None:
    port = Port()
    for ports in ([port, port], [Port(), port, port]):
        with pytest.raises(UsageError, match="make a new one"):
            Console(ports)
    with pytest.raises(UsageError, match="columns"):
        Console([port], size=(-1, 0))
    Console([port])  # it was left alone
    with pytest.raises(UsageError, match="make a new one"):
        Console([port])


def test_what_is_in_no_open_machine_says_so(vm: Machine) -> None:
    port = Port()
    console, balloon, block, net = Console([port], size=(80, 25)), Balloon(), Block(), Net()
    with pytest.raises(UsageError, match="in no machine yet"):
        port.feed(b"x")
    with pytest.raises(UsageError, match="in no machine yet"):
        console.feed(b"x")
    balloon.target = 1 << 20
    for device in (console, balloon, block, net):
        vm.add_virtio(device)
    vm.close()

    def inflate() -> None:
        balloon.target = 2 << 20

    for use in (
        lambda: port.feed(b"x"), lambda: console.feed(b"x"), lambda: console.resize(1, 1),
        inflate, balloon.ask, block.resized, lambda: net.set_link(False),
    ):  # fmt: skip
        with pytest.raises(ClosedError):
            use()


# Values.

SIZED = Console(size=(80, 25))
VALUES: dict[str, Callable[[], object]] = {
    "a device that is a class": lambda: machine().add_virtio(anything(Block)),
    "a size of one": lambda: Console(size=anything((80,))),
    "a size that is a number": lambda: Console(size=anything(5)),
    "a size of letters": lambda: Console(size=anything("ab")),
    "columns beyond 16 bits": lambda: Console(size=(70000, 5)),
    "negative columns": lambda: Console(size=(-1, 5)),
    "columns and a half": lambda: Console(size=anything((80.5, 25))),
    "resized beyond 16 bits": lambda: SIZED.resize(70000, 1),
    "resized to letters": lambda: SIZED.resize(anything("a"), 1),
    "no queue": lambda: Block(queues=0),
    "too many queues": lambda: Block(queues=17),
    "queues and a half": lambda: Block(queues=anything(1.5)),
    "a limit that is a number": lambda: Block(limit=anything(5)),
    "a path for a disk": lambda: Block(anything("disk.img")),
    "an empty path for a disk": lambda: Block(anything("")),
    "an MTU and a half": lambda: Net(mtu=anything(1500.5)),
    "pairs and a half": lambda: Net(pairs=anything(1.5)),
    "pairs in letters": lambda: Net(pairs=anything("2")),
    "a source that is a number": lambda: Entropy(anything(5)),
    "text to write": lambda: Stream(anything(io.StringIO())),
    "text to read": lambda: Stream(None, anything(io.StringIO())),
    "no stream": lambda: Stream(anything(5)),
}


@pytest.mark.parametrize("make", VALUES.values(), ids=VALUES.keys())
def test_a_value_is_refused_where_it_is_given(make: Callable[[], object]) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert "\n" not in str(caught.value)


DISKS: dict[str, Callable[[], object]] = {
    "negative": lambda: MemoryDisk(-512),
    "nothing": lambda: MemoryDisk(anything(None)),
    "text": lambda: MemoryDisk(anything("disk.img")),
    "a float": lambda: MemoryDisk(anything(512.0)),
    "more than there is": lambda: MemoryDisk(1 << 62),
    "more than a size": lambda: MemoryDisk(1 << 80),
    "an overlay over a path": lambda: OverlayDisk(anything("disk.img")),
    "an overlay nowhere": lambda: OverlayDisk(MemoryDisk(512), Path("/nope")),
}


@pytest.mark.parametrize("make", DISKS.values(), ids=DISKS.keys())
def test_a_disk_that_cannot_be_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(DiskError) as caught:
        make()
    assert "\n" not in str(caught.value)


# What the host's side answers while a guest runs: its requests come back all the same.


@pytest.mark.parametrize("answer", [None, b"", b"abc", bytes(5), "abcd", OSError("gone")])
def test_a_source_that_does_not_give_what_is_asked_for(answer: object) -> None:
    answers = [answer]

    def source(size_bytes: int) -> bytes:
        found = answers.pop() if answers else b"good"
        if isinstance(found, OSError):
            raise found
        return anything(found)

    driver = Driver(Entropy(source))
    driver.start()
    queue = driver.queues[0]
    queue.offer([], [4])
    queue.offer([], [4])
    with pytest.raises(OSError if isinstance(answer, OSError) else UsageError):
        queue.notify()
    driver.catch_up()
    assert [used.data for used in queue.collect()] == [b"", b"good"]
    assert driver.interrupts
    queue.offer([], [4])
    assert queue.wants_notification()


class Odd(End):
    """Answers once in another way than it should."""

    def __init__(self, answer: object) -> None:
        self.answers = [answer]
        self.data = b""

    def write(self, data: bytes) -> int:
        if self.answers:
            answer = self.answers.pop()
            if isinstance(answer, BaseException):
                raise answer
            return anything(answer)
        self.data += data
        return len(data)


@pytest.mark.parametrize("answer", [None, "x", -1, 1.5, 4, OSError("full"), KeyboardInterrupt()])
def test_an_end_that_answers_wrongly_does_not_hold_the_guest_up(answer: object) -> None:
    end = Odd(answer)
    driver = Driver(Console([Port(end)]))
    driver.start()
    queue = driver.queues[TX]
    queue.offer([b"one"])
    queue.offer([b"two"])
    expected = type(answer) if isinstance(answer, BaseException) else UsageError
    with pytest.raises(expected):
        queue.notify()
    driver.catch_up()
    assert len(queue.collect()) == 2
    assert end.data == b"two"
    assert driver.interrupts
    queue.offer([b"three"])
    assert queue.wants_notification()


class OddDisk(MemoryDisk):
    """Reads what it is told."""

    answer: object = None

    def read(self, offset: int, size_bytes: int) -> bytes:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return anything(self.answer)


@pytest.mark.parametrize("answer", [None, b"", bytes(511), bytes(513), ValueError("bad")])
def test_a_disk_that_reads_wrongly_fails_the_request(answer: object) -> None:
    disk = OddDisk(1 << 16)
    disk.answer = answer
    driver = Driver(Block(disk))
    driver.start()
    queue = driver.queues[0]
    queue.offer([HEAD.pack(Kind.IN, 0, 0)], [512, 1])
    queue.offer([HEAD.pack(Kind.FLUSH, 0, 0)], [1])
    if isinstance(answer, ValueError):
        with pytest.raises(ValueError, match="bad"):
            queue.notify()
        driver.catch_up()
    else:
        queue.notify()
    read, flushed = queue.collect()
    assert driver.memory.read(*read.request.writable[-1]) == bytes((S_IOERR,))
    assert flushed.data == bytes((S_OK,))


def test_a_request_wants_a_queue_that_is_set_up() -> None:
    driver = Driver(Entropy())
    with pytest.raises(UsageError, match="not set up"):
        driver.request(0, writable_bytes=4)
    driver.start()
    with pytest.raises(UsageError, match="not set up"):
        driver.request(1, writable_bytes=4)
