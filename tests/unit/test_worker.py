"""The machine's own thread: calls, delays, files, failures, and its end."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from weakref import WeakMethod, ref

import pytest

import pykvm
from pykvm import asm
from pykvm.errors import UsageError
from pykvm.net.port import Inbox
from pykvm.worker import WRITE, Worker

SPIN = asm.assemble("spin: jmp spin", mode="long")


class Owner:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.errors: list[BaseException] = []

    def failed(self, error: BaseException) -> None:
        self.errors.append(error)


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def worker(owner: Owner) -> Iterator[Worker]:
    with closing(Worker(owner.lock, WeakMethod(owner.failed))) as worker:
        yield worker


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def threads() -> int:
    return sum(each.name == "pykvm" for each in threading.enumerate())


def files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_calls_come_in_their_order_on_one_thread(worker: Worker) -> None:
    seen: list[tuple[int, int]] = []
    for number in range(100):
        worker.post(lambda number=number: seen.append((number, threading.get_ident())))  # type: ignore[misc]
    until(lambda: len(seen) == 100)
    assert [number for number, _ in seen] == list(range(100))
    assert {ident for _, ident in seen} != {threading.get_ident()}
    assert len({ident for _, ident in seen}) == 1


def test_a_delayed_call_lets_others_pass(worker: Worker) -> None:
    seen: list[str] = []
    start = time.monotonic()
    worker.post(lambda: seen.append("late"), 0.05)
    worker.post(lambda: seen.append("soon"))
    until(lambda: len(seen) == 2)
    assert seen == ["soon", "late"]
    assert time.monotonic() - start >= 0.05


def test_a_call_waits_for_the_lock(worker: Worker, owner: Owner) -> None:
    ran = threading.Event()
    with owner.lock:
        worker.post(ran.set)
        assert not ran.wait(0.05)
    assert ran.wait(30)


def test_a_call_may_post_and_unwatch(worker: Worker) -> None:
    here, there = socket.socketpair()
    seen: list[bytes] = []

    def read() -> None:
        seen.append(here.recv(10))
        worker.unwatch(here.fileno())
        worker.post(lambda: seen.append(b"posted"))

    with here, there:
        worker.watch(here.fileno(), read)
        there.send(b"a")
        until(lambda: len(seen) == 2)
        there.send(b"b")
        worker.post(lambda: seen.append(b"end"))
        until(lambda: b"end" in seen)
        assert seen == [b"a", b"posted", b"end"]
        worker.watch(here.fileno(), read)
        until(lambda: b"b" in seen)


def test_a_watch_can_change(worker: Worker) -> None:
    here, there = socket.socketpair()
    with here, there:
        ran = threading.Event()
        worker.watch(here.fileno(), lambda: None)
        worker.watch(here.fileno(), lambda: (ran.set(), worker.unwatch(here.fileno())), WRITE)  # type: ignore[arg-type, return-value]
        assert ran.wait(30)
        worker.unwatch(here.fileno())


def test_what_cannot_be_watched(worker: Worker) -> None:
    with open(__file__, "rb") as file, pytest.raises(PermissionError):  # noqa: PTH123
        worker.watch(file.fileno(), lambda: None)
    here, there = socket.socketpair()
    closed = here.fileno()
    with there:
        here.close()
        for fd in (closed, -1, 1 << 40, 1 << 70, there, "1", None):
            with pytest.raises(UsageError):
                worker.watch(fd, lambda: None)  # type: ignore[arg-type]


def test_a_number_may_become_another_files(worker: Worker) -> None:
    fd, *others = (os.eventfd(0) for _ in range(3))
    ran = threading.Event()
    worker.watch(fd, lambda: None)
    os.close(fd)
    worker.unwatch(fd)
    for other in others:
        os.dup2(other, fd)
        os.close(other)
        worker.watch(fd, lambda: (os.eventfd_read(fd), ran.set()))  # type: ignore[arg-type, return-value]
        os.eventfd_write(fd, 1)
        assert ran.wait(30)
        ran.clear()
    worker.unwatch(fd)
    os.close(fd)


def test_a_watcher_that_raises_is_called_no_more(worker: Worker, owner: Owner) -> None:
    here, there = socket.socketpair()
    ran = threading.Event()

    def fail() -> None:
        worker.watch(here.fileno(), fail)
        raise ValueError("so")

    with here, there:
        there.send(b"a")
        worker.watch(here.fileno(), fail)
        until(lambda: owner.errors)
        worker.post(ran.set, 0.05)
        assert ran.wait(30)
        assert [str(error) for error in owner.errors] == ["so"]
        ran.clear()
        worker.watch(here.fileno(), lambda: (here.recv(1), ran.set()))  # type: ignore[arg-type, return-value]
        assert ran.wait(30)
        worker.unwatch(here.fileno())


def test_what_is_no_longer_watched_is_not_called(worker: Worker, owner: Owner) -> None:
    here, there = socket.socketpair()
    calls: list[int] = []
    ran = threading.Event()
    with here, there:
        with owner.lock:
            worker.watch(here.fileno(), lambda: calls.append(1))
            there.send(b"a")
            time.sleep(0.05)  # the thread waits for the lock
            worker.unwatch(here.fileno())
        worker.post(ran.set)
        assert ran.wait(30)
    assert not calls


@pytest.mark.parametrize("delay_s", [float("nan"), float("inf"), float("-inf")])
def test_a_delay_is_finite(worker: Worker, delay_s: float) -> None:
    with pytest.raises(UsageError, match="finite"):
        worker.post(lambda: None, delay_s)


@pytest.mark.parametrize("delay_s", [3e6, 1e300])
def test_a_long_delay_lets_others_pass(worker: Worker, delay_s: float) -> None:
    ran = threading.Event()
    worker.post(lambda: None, delay_s)
    time.sleep(0.01)  # the thread waits for that one alone
    worker.post(ran.set)
    assert ran.wait(30)


def test_a_thread_that_died_leaves_other_files_alone(
    worker: Worker, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: died.set())
    monkeypatch.setattr(owner, "errors", None)  # nobody can be told
    before = threads()
    worker.post(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    assert died.wait(30)
    until(lambda: threads() == before)
    others = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(4)]
    worker.post(lambda: None)
    worker.watch(others[0], lambda: None)
    worker.unwatch(others[0])
    for fd in others:
        with pytest.raises(BlockingIOError):
            os.eventfd_read(fd)
        os.close(fd)


def test_what_a_call_raises_is_told(worker: Worker, owner: Owner) -> None:
    ran = threading.Event()

    def fail() -> None:
        raise ValueError("so")

    worker.post(fail)
    worker.post(ran.set)
    assert ran.wait(30)
    assert [str(error) for error in owner.errors] == ["so"]


def test_devices_have_room_however_many_calls_wait(worker: Worker) -> None:
    ran = threading.Event()
    for _ in range(5000):
        worker.post(lambda: None, 1000)
    inbox = Inbox(lambda: worker.post(ran.set))
    inbox.put(bytes(60))
    assert ran.wait(30)


def test_nothing_is_left_behind(owner: Owner) -> None:
    before = files(), threads()
    worker = Worker(owner.lock, WeakMethod(owner.failed))
    assert (files(), threads()) == before
    worker.post(lambda: None)
    assert (files(), threads()) != before
    worker.close()
    worker.close()
    worker.post(lambda: owner.errors.append(ValueError()))
    worker.watch(0, lambda: None)
    assert (files(), threads()) == before
    assert not owner.errors


def test_a_call_may_close(owner: Owner) -> None:
    before = files(), threads()
    worker = Worker(owner.lock, WeakMethod(owner.failed))
    worker.post(worker.close)
    until(lambda: (files(), threads()) == before)


# The same of a machine.


def test_a_machine_runs_calls_while_its_guest_runs() -> None:
    with pykvm.VM(backend="emu") as vm:
        vm.load(SPIN)
        vm.post(vm.stop, 0.01)
        assert vm.run(timeout=60).outcome.value == "interrupted"


def test_a_failing_call_ends_the_run() -> None:
    def fail() -> None:
        raise ValueError("so")

    with pykvm.VM(backend="emu") as vm:
        vm.load(SPIN)
        vm.post(fail)
        with pytest.raises(ValueError, match="so"):
            vm.run(timeout=60)
        assert vm.run(timeout=0.01).outcome.value == "timeout"


def test_a_failing_watcher_ends_one_run() -> None:
    def fail() -> None:
        raise ValueError("so")

    here, there = socket.socketpair()
    with here, there, pykvm.VM(backend="emu") as vm:
        vm.load(SPIN)
        there.send(b"a")
        vm.watch(here.fileno(), fail)
        with pytest.raises(ValueError, match="so"):
            vm.run(timeout=60)
        assert vm.run(timeout=0.05).outcome.value == "timeout"


def test_a_machine_that_is_given_up_ends_its_thread() -> None:
    before = threads()
    vm = pykvm.VM(backend="emu")
    ran = threading.Event()
    vm.post(ran.set)
    assert ran.wait(30)
    gone = ref(vm)
    del vm
    gc.collect()
    assert gone() is None
    assert threads() == before
