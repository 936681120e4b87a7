"""Runs end when they should: by time, by another thread, by a signal; and only then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import pykvm
from pykvm.backend import exitkeys
from pykvm.errors import ClosedError, PykvmError, UsageError
from pykvm.interrupt import PATIENCE_S
from pykvm.machine import Machine
from pykvm.result import Outcome
from tests.support.waiting import until

TIMEOUT_S = 20  # never reached: what a test waits for comes first, or it fails
SOON_S = 0.02
RACES = 10_000
COUNT_GPA = 0x8000  # of 4 bytes: the guest writes there how far it has counted


def endless(backend: str, cpus: int = 1) -> Machine:
    """A machine whose guest counts in RAX for ever."""
    vm = pykvm.VM(backend=backend, memory="1M", cpus=cpus)
    vm.load(pykvm.assemble(f"again: inc rax\nmov [{COUNT_GPA:#x}], eax\njmp again"))
    return vm


@contextmanager
def meanwhile(vm: Machine, action: Callable[[], object]) -> Iterator[None]:
    """Do something from another thread as soon as the block has let the guest count on."""
    before = vm.memory.read(COUNT_GPA, 4)

    def act() -> None:
        until(lambda: vm.memory.read(COUNT_GPA, 4) != before)
        action()

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def interrupt_myself() -> None:
    """What Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


def test_a_run_ends_with_its_time_and_can_go_on(backend: str) -> None:
    with endless(backend) as vm:
        assert vm.run(0.2).outcome is pykvm.Outcome.TIMEOUT
        count = vm.registers.rax
        assert vm.run(0.2).outcome is pykvm.Outcome.TIMEOUT
        assert vm.registers.rax > count > 0


def test_another_thread_stops_a_run(backend: str) -> None:
    with endless(backend) as vm, meanwhile(vm, vm.stop):
        result = vm.run(TIMEOUT_S)
        assert (result.outcome, result.status) == (pykvm.Outcome.INTERRUPTED, 130)


def test_a_stop_before_a_run_ends_it_at_once(backend: str) -> None:
    with endless(backend) as vm:
        vm.stop()
        assert vm.run(TIMEOUT_S).outcome is pykvm.Outcome.INTERRUPTED
        assert vm.registers.rax == 0
        assert vm.run(0.2).outcome is pykvm.Outcome.TIMEOUT  # it counts once


def test_ctrl_c_ends_a_run_and_the_machine_goes_on(backend: str) -> None:
    with endless(backend) as vm:
        with meanwhile(vm, interrupt_myself), pytest.raises(KeyboardInterrupt):
            vm.run(TIMEOUT_S)
        count = vm.registers.rax
        assert vm.run(0.2).outcome is pykvm.Outcome.TIMEOUT
        assert vm.registers.rax > count


def test_ctrl_c_ends_a_run_of_several_processors(backend: str) -> None:
    with endless(backend, cpus=2) as vm:
        with meanwhile(vm, interrupt_myself), pytest.raises(KeyboardInterrupt):
            vm.run(TIMEOUT_S)
        assert vm.run(0.2).outcome is pykvm.Outcome.TIMEOUT


class Sink:
    """A device that is only written to.

    Attributes:
        got: what was written.
        work: done before that is noted.
    """

    def __init__(self, work: Callable[[], None] = lambda: None) -> None:
        self.got: list[int] = []
        self.work = work

    def read(self, offset: int, size_bytes: int) -> int:
        return 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        self.work()
        self.got.append(value)


@contextmanager
def counting(backend: str, sink: Sink) -> Iterator[Machine]:
    """A machine whose guest writes 1, 2, 3 ... to a device."""
    source = f"""
    mov dx, 0x300
    again: inc ecx
    mov [{COUNT_GPA:#x}], ecx
    mov eax, ecx
    out dx, eax
    jmp again
    """
    with pykvm.VM(backend=backend, memory="1M") as vm:
        vm.ports.claim(0x300, 4, sink)
        vm.load(pykvm.assemble(source))
        yield vm


def run_by_exits(vm: Machine) -> None:
    for _ in vm.exits(TIMEOUT_S):
        pass


@pytest.mark.parametrize("run", [lambda vm: vm.run(TIMEOUT_S), run_by_exits], ids=["run", "exits"])
def test_ctrl_c_loses_no_exit(backend: str, run: Callable[[Machine], object]) -> None:
    sink = Sink()
    with counting(backend, sink) as vm:
        for _ in range(10):
            with meanwhile(vm, interrupt_myself), pytest.raises(KeyboardInterrupt):
                run(vm)
    assert sink.got == list(range(1, len(sink.got) + 1))


def test_the_exit_at_which_the_user_leaves_goes_to_its_device(backend: str) -> None:
    sink = Sink()
    with counting(backend, sink) as vm:
        for number, _ in enumerate(vm.exits(TIMEOUT_S)):
            if number == 2:
                break
        assert sink.got == [1, 2, 3]


def test_an_exit_that_no_device_claims_is_over_when_the_user_leaves(backend: str) -> None:
    with pykvm.VM(backend=backend, memory="1M") as vm:
        vm.load(pykvm.assemble("mov al, 1\nout 0x99, al\nout 0xf8, al"))
        assert next(vm.exits(TIMEOUT_S)).kind == "PortOut"
        assert vm.run(TIMEOUT_S).status == 1


def test_another_ctrl_c_interrupts_a_device_that_does_not_come_back(backend: str) -> None:
    def send_two() -> None:
        interrupt_myself()
        time.sleep(2 * PATIENCE_S)
        interrupt_myself()

    came_back = []

    def wait() -> None:
        time.sleep(TIMEOUT_S)
        came_back.append(True)

    with counting(backend, Sink(wait)) as vm:
        with meanwhile(vm, send_two), pytest.raises(KeyboardInterrupt):
            vm.run(TIMEOUT_S)
        assert not came_back


def test_ctrl_c_while_processors_start_leaves_none_behind(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        real(thread)
        interrupt_myself()

    threads = threading.active_count()
    with endless(backend, cpus=4) as vm:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(threading.Thread, "start", start)
            vm.run(TIMEOUT_S)
        assert threading.active_count() == threads
        assert vm.run(0.2).outcome is pykvm.Outcome.TIMEOUT


def test_a_second_run_is_refused_and_leaves_the_first_alone(backend: str) -> None:
    def try_too() -> None:
        for run in (lambda: vm.run(0.1), lambda: next(vm.exits(0.1))):
            try:
                run()
            except UsageError as error:
                refused.append("runs already" in str(error))
        vm.stop()

    refused: list[bool] = []
    with endless(backend) as vm, meanwhile(vm, try_too):
        assert vm.run(TIMEOUT_S).outcome is Outcome.INTERRUPTED
    assert refused == [True, True]


def test_a_run_within_a_run_is_refused(backend: str) -> None:
    sink = Sink()
    with counting(backend, sink) as vm:
        sink.work = lambda: print(vm.run(0.1))
        with pytest.raises(UsageError, match="runs already"):
            vm.run(TIMEOUT_S)
        sink.work = lambda: None
        assert vm.run(0.1).outcome is pykvm.Outcome.TIMEOUT


def test_other_signals_are_handled_while_the_guest_runs(backend: str) -> None:
    seen: list[int] = []

    def handle(number: int, frame: object) -> None:
        seen.append(number)
        vm.stop()

    with endless(backend) as vm:
        old = signal.signal(signal.SIGUSR1, handle)
        try:
            with meanwhile(vm, lambda: os.kill(os.getpid(), signal.SIGUSR1)):
                assert vm.run(TIMEOUT_S).outcome is pykvm.Outcome.INTERRUPTED
        finally:
            signal.signal(signal.SIGUSR1, old)
    assert seen == [signal.SIGUSR1]


def test_an_exception_of_a_signal_handler_leaves_the_run(backend: str) -> None:
    def handle(number: int, frame: object) -> None:
        raise ValueError("from a handler")

    with endless(backend) as vm:
        old = signal.signal(signal.SIGALRM, handle)
        try:
            with (
                meanwhile(vm, lambda: signal.setitimer(signal.ITIMER_REAL, SOON_S)),
                pytest.raises(ValueError, match="from a handler"),
            ):
                vm.run(TIMEOUT_S)
        finally:
            signal.signal(signal.SIGALRM, old)
        assert vm.run(0.2).outcome is pykvm.Outcome.TIMEOUT


def test_a_second_thread_in_one_processor_is_refused(backend: str) -> None:
    """Whichever of two comes later, each leaving it a few times a second."""
    refused: list[int] = []

    def enter_again_and_again() -> None:
        while not refused:
            key = vm.vcpu.enter()
            if key & exitkeys.KIND_MASK == exitkeys.ERROR:
                refused.append(key)

    with endless(backend) as vm:
        vm.vcpu.begin(TIMEOUT_S * 10**9)
        threads = [threading.Thread(target=enter_again_and_again) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        vm.vcpu.end()
        with pytest.raises(PykvmError, match="another thread"):
            vm.vcpu.exit(refused[0])


def test_closing_stops_a_run_under_way(backend: str) -> None:
    vm = endless(backend)
    with meanwhile(vm, vm.close), pytest.raises(ClosedError):
        vm.run(TIMEOUT_S)


def test_a_closed_processor_is_not_entered(backend: str) -> None:
    vm = endless(backend)
    vcpu, enter = vm.vcpu, vm.vcpu.enter
    vm.close()
    with pytest.raises(ClosedError):
        vcpu.exit(enter())
    vcpu.stop()
    vcpu.end()
    with pytest.raises(ClosedError):
        vcpu.begin(None)


def test_no_stop_is_ever_lost(backend: str) -> None:
    """Each of many stops, at whatever moment it comes, ends one run."""
    ended = 0
    lost: list[int] = []

    def stop_again_and_again() -> None:
        for number in range(RACES):
            vm.vcpu.stop()
            give_up = time.monotonic() + TIMEOUT_S
            while ended <= number:
                time.sleep(0)
                if time.monotonic() > give_up:
                    lost.append(number)
                    return

    with endless(backend) as vm:
        thread = threading.Thread(target=stop_again_and_again)
        vm.vcpu.begin(None)
        thread.start()
        while thread.is_alive() or ended < RACES:
            if vm.vcpu.enter() & exitkeys.KIND_MASK == exitkeys.INTERRUPTED:
                ended += 1
            elif lost:
                break
        thread.join()
        vm.vcpu.end()
    assert not lost
    assert ended == RACES


FORKING = """
import os, sys, threading, pykvm
from pykvm.backend import exitkeys
from pykvm.loader.image import Image, Mode
def run():
    with pykvm.VM(backend=sys.argv[1], memory="1M") as vm:
        vm.load(Image("<loop>", Mode.LONG, 0x10000, ((0x10000, b"\\xeb\\xfe"),)))
        timer = threading.Timer(0.02, vm.stop)
        timer.start()
        kind = vm.vcpu.enter() & exitkeys.KIND_MASK
        assert kind == exitkeys.INTERRUPTED  # without the tick's help
        timer.join()
run()
child = os.fork()
if child == 0:
    run()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
run()
"""


def test_a_forked_process_has_machines_of_its_own(backend: str) -> None:
    subprocess.run([sys.executable, "-c", FORKING, backend], check=True, timeout=60)
