"""Notifications by ioeventfd and interrupts by irqfd: the same guests, the same results."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from weakref import WeakMethod

import pytest

import pykvm
from pykvm.backend.kvm.vm import KvmVm
from pykvm.errors import UsageError
from pykvm.guest import load_guest
from pykvm.virtio.events import Line
from pykvm.worker import Worker

GUESTS = sorted((Path(__file__).parents[2] / "guests").glob("virtio_*.S"))


@pytest.mark.parametrize("path", GUESTS, ids=lambda path: path.stem)
def test_guests_see_no_difference(path: Path, backend: str) -> None:
    guest = load_guest(path)
    left: list[int] = []
    for _ in range(2):  # the first may open what stays for all machines
        with guest.machine(backend=backend, virtio_events="eventfd") as vm:
            result = vm.run(timeout=30)
            assert (result.status, result.output.decode()) == (0, guest.expect.output), result
        left.append(descriptors())
    assert left[1] <= left[0]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_a_notification_and_an_interrupt_are_no_exits(backend: str) -> None:
    """What is left of a request is InterruptStatus and InterruptACK."""
    (path,) = (each for each in GUESTS if each.stem == "virtio_interrupt")
    counts = {}
    for events in ("exit", "eventfd"):
        with load_guest(path).machine(backend=backend, virtio_events=events) as vm:
            counts[events] = vm.run(timeout=30).exits
    assert counts["exit"]["MmioWrite"] - counts["eventfd"]["MmioWrite"] == 16
    assert counts["eventfd"]["MmioRead"] >= 16  # more where one comes twice: docs/devices/virtio.md


def test_another_queues_notification_exits_and_does_nothing(backend: str) -> None:
    with pykvm.VM(
        backend=backend, devices=("exit", "virtio-entropy"), virtio_events="eventfd"
    ) as vm:
        vm.load(
            pykvm.asm.assemble(
                """
                mov edx, EXIT_PORT
                mov eax, 0
                mov edi, VIRTIO_BASE + 0x50
                mov dword ptr [rdi], 7
                mov word ptr [rdi], 0
                out dx, eax
                """,
                mode="long",
            )
        )
        result = vm.run(timeout=30)
    assert (result.status, result.exits["MmioWrite"]) == (0, 2)


@pytest.mark.parametrize(
    "options", [{"virtio_events": "pigeon"}, {"virtio_events": "eventfd", "clock": "instructions"}]
)
def test_what_cannot_be(options: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        pykvm.VM(backend="emu", **options)  # type: ignore[arg-type]


# A line by itself, without a guest: the backend's side is played.


class Backend(KvmVm):
    """Takes the irqfd and keeps it."""

    def __init__(self) -> None:
        self.raise_fd = self.ended_fd = -1

    def add_irqfd(self, fd: int, gsi: int, resample_fd: int | None = None) -> None:
        assert resample_fd is not None
        self.raise_fd, self.ended_fd = fd, resample_fd

    def raised(self) -> int:
        """How often it was, since the last time."""
        try:
            return os.eventfd_read(self.raise_fd)
        except BlockingIOError:
            return 0

    def __del__(self) -> None:
        pass


@pytest.fixture
def line() -> Iterator[tuple[Line, Backend, threading.RLock]]:
    lock = threading.RLock()
    failures: list[BaseException] = []
    owner = Owner(failures)
    backend = Backend()
    with closing(Worker(lock, WeakMethod(owner.failed))) as worker:
        line = Line(backend, worker, 16)
        yield line, backend, lock  # type: ignore[misc]
    line.close()
    assert not failures


class Owner:
    def __init__(self, failures: list[BaseException]) -> None:
        self.failures = failures

    def failed(self, error: BaseException) -> None:
        self.failures.append(error)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_line_is_raised_once_until_the_interrupt_ends(
    line: tuple[Line, Backend, threading.RLock],
) -> None:
    it, backend, lock = line
    with lock:
        it.set(True)
        it.set(False)
        it.set(True)
    assert backend.raised() == 1
    os.eventfd_write(backend.ended_fd, 1)  # and the device wants it still
    until(backend.raised)
    with lock:
        it.set(False)
    os.eventfd_write(backend.ended_fd, 1)
    time.sleep(0.05)
    assert backend.raised() == 0
    with lock:
        it.set(True)
    assert backend.raised() == 1
